/* What families.c loads. */
#include "exchange.h"

int plugin_exchange(const struct op *op, enum way way);

int plugin_exchange(const struct op *op, enum way way)
{
	return exchange(op, way);
}
