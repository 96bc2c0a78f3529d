/* Exit statuses of commands: which of them are worth another run. */
#include <string.h>

#include "policy/text.h"
#include "retryshim/policy.h"

struct range {
	int64_t first, last;
};

static bool read_range(const char *item, struct range *range)
{
	char first[8];
	const char *dash = strchr(item, '-');
	size_t length = dash != NULL ? (size_t)(dash - item) : strlen(item);
	if (length >= sizeof first)
		return false;
	memcpy(first, item, length);
	first[length] = '\0';
	if (!text_integer(first, &range->first) || !text_integer(dash != NULL ? dash + 1 : first, &range->last))
		return false;
	return range->first >= 1 && range->first <= range->last && range->last <= 255;
}

static bool is_range(const char *item)
{
	struct range range;
	return read_range(item, &range);
}

bool statuses_valid(const char *list) { return text_list_valid(list, is_range); }

bool statuses_have(const char *list, int status)
{
	while (list != NULL) {
		char item[16];
		struct range range;
		if (text_next_item(&list, item, sizeof item) && read_range(item, &range) && status >= range.first && status <= range.last)
			return true;
	}
	return false;
}
