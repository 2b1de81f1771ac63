// What WATCHTOWER_FIND adds to the class for basic frames: while there is no id, it asks the
// network for gateways, and tries them in turn. WatchtowerBasic.h includes it.
#ifndef WATCHTOWER_FIND_H
#define WATCHTOWER_FIND_H

#include "wt_find.h"

static struct {
	uint16_t asked; // units of the clock
	uint8_t gap;    // until the next question
	bool open;      // the answer of another gateway is taken
} watchtower_search;

// watchtower_look asks if it is time: at once, after a second, 2, 4, and then every 8 seconds.
static void watchtower_look() {
	uint16_t now = wt_clock();
	uint32_t gateway = watchtower.gateway;
	if (wt_self.op != 'K') watchtower_search.gap = 0;
	if (wt_self.op != 'K' || (uint16_t)(now - watchtower_search.asked) < watchtower_search.gap) return;
	watchtower_search.asked = now;
	if (!watchtower_search.gap) watchtower_search.gap = 2;
	if (watchtower_search.gap < 32) watchtower_search.gap *= 2;
	watchtower_search.open = true;
	wt_find_ask(wt_self.frame);
	watchtower.gateway = 0xffffffff;
	wt_transmit(wt_self.frame, WT_FIND_N);
	watchtower.gateway = gateway;
}

// watchtower_found takes an answer: the first after a question that comes from another
// gateway than the present one. So each of several gets its turn.
static void watchtower_found(const uint8_t *frame) {
	uint32_t from = (uint32_t)watchtower.udp->remoteIP();
	if (!wt_find_answers(frame, WT_FIND_N) || !watchtower_search.open || from == watchtower.gateway) return;
#ifdef WATCHTOWER_GATEWAY // the number of the only one that is taken; `watchtower find` shows it
	if (wt_find_number(frame) != (WATCHTOWER_GATEWAY)) return;
#endif
	watchtower_search.open = false;
	watchtower.gateway = from;
	wt_self.gap = 0; // it registers at once
}

#endif
