/* What the processes of a host learn from each other's attempts. */
#include "retryshim/host.h"

enum { OK_BITS = 1, SOURCE_BITS = 3, CODE_BITS = 12, AT_SHIFT = OK_BITS + SOURCE_BITS + CODE_BITS, ID_BITS = 16 };

uint64_t evidence_word(const struct evidence *evidence)
{
	uint64_t code = (uint64_t)evidence->code & ((1U << CODE_BITS) - 1);
	return (uint64_t)evidence->at_us << AT_SHIFT | code << (OK_BITS + SOURCE_BITS) | (uint64_t)evidence->source << OK_BITS |
	       (uint64_t)evidence->ok;
}

struct evidence evidence_read(uint64_t word)
{
	int code = (int)(word >> (OK_BITS + SOURCE_BITS)) & ((1 << CODE_BITS) - 1);
	return (struct evidence){
		.at_us = (int64_t)(word >> AT_SHIFT),
		.ok = (word & 1) != 0,
		.source = (enum source)(word >> OK_BITS & ((1U << SOURCE_BITS) - 1)),
		.code = code >= 1 << (CODE_BITS - 1) ? code - (1 << CODE_BITS) : code,
	};
}

uint64_t claim_word(int64_t at_us, uint64_t id) { return (uint64_t)at_us << ID_BITS | (id & ((1U << ID_BITS) - 1)) | 1; }

/* Nobody backs off for longer (RETRY_MAX_DELAY_MS): garbage in the file must not be waited for. */
#define BACKOFF_MOST_US INT64_C(3600000000)

static int64_t claimed_us(uint64_t claim) { return (int64_t)(claim >> ID_BITS); }

bool claim_stands(uint64_t claim, int64_t now_us, int64_t patience_us)
{
	int64_t at_us = claimed_us(claim);
	return claim != 0 && now_us - at_us < patience_us && at_us - now_us <= BACKOFF_MOST_US;
}

static struct view wait(int64_t until_us, bool parked)
{
	return (struct view){.course = COURSE_WAIT, .until_us = until_us, .parked = parked};
}

static struct view simply(enum course course) { return (struct view){.course = course}; }

/* The destination is back: nobody waits longer than without that news, and not all start at once. */
static struct view let_go(const struct waiter *waiter, int64_t back_us, int64_t now_us)
{
	int64_t start_us = back_us + waiter->spread_us;
	if (waiter->at_us > back_us && waiter->at_us < start_us)
		start_us = waiter->at_us;
	if (start_us > waiter->end_us) /* its operation has a deadline */
		start_us = waiter->end_us;
	return now_us >= start_us ? simply(COURSE_GO) : wait(start_us, false);
}

/* When the destination has been left alone for long enough. The share of the spread keeps the others behind the first. */
static int64_t turn_us(const struct waiter *waiter, const struct evidence *latest)
{
	return latest->at_us + waiter->pace_us + waiter->spread_us / 4;
}

/* Until when another's claim is worth waiting for; now_us or earlier: not at all. */
static int64_t worth_waiting(const struct waiter *waiter, const struct evidence *latest, uint64_t claim, int64_t now_us)
{
	if (!claim_stands(claim, now_us, waiter->patience_us))
		return now_us;
	int64_t until_us = claimed_us(claim) > now_us ? waiter->limit_us : claimed_us(claim) + waiter->patience_us;
	/* Somebody's turn, if the claim is for later still. */
	if (claimed_us(claim) > now_us && claimed_us(claim) > turn_us(waiter, latest) && turn_us(waiter, latest) < until_us)
		until_us = turn_us(waiter, latest);
	return until_us < waiter->end_us ? until_us : waiter->end_us;
}

struct view evidence_look(const struct waiter *waiter, uint64_t evidence, uint64_t claim, int64_t now_us)
{
	struct evidence latest = evidence_read(evidence);
	/* What has not happened yet is no evidence. */
	bool news = latest.at_us > waiter->failed_us && latest.at_us <= now_us;
	bool own = waiter->claim != 0 && claim == waiter->claim;
	if (news && latest.ok)
		return let_go(waiter, latest.at_us, now_us);
	if (now_us < waiter->at_us)
		return wait(waiter->at_us, false);
	if (news && now_us < turn_us(waiter, &latest))
		return (struct view){.course = COURSE_COUNTS, .until_us = latest.at_us};
	if (own)
		return simply(COURSE_GO);
	int64_t until_us = worth_waiting(waiter, &latest, claim, now_us);
	return now_us < until_us ? wait(until_us, true) : simply(COURSE_CLAIM);
}

int64_t evidence_pace_us(const struct config *config, int64_t most_us)
{
	int64_t base_us = config->base_delay_ms * 1000;
	return most_us / 16 > base_us ? most_us / 16 : base_us;
}

int64_t evidence_spread_us(const struct config *config)
{
	const int64_t most_ms = 500;
	int64_t spread_ms = config->base_delay_ms * 8 / 5;
	return (spread_ms < most_ms ? spread_ms : most_ms) * 1000;
}
