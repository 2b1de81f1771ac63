/* Finding the gateway with basic frames: a device that knows no address asks the broadcast
 * address of its network, and takes the address from which the answer comes. Nobody proves
 * who answers.
 *
 * With session frames this is not needed: send what wt_transmit is given to the broadcast
 * address if it begins with 'r'. When wt_done is told 'r' and WT_OK, the datagram that
 * wt_receive stored last came from the gateway. */
#ifndef WT_FIND_H
#define WT_FIND_H

#include <stdint.h>

#define WT_FIND_N 8 /* bytes of the question, and of its answer */

/* wt_find_ask makes the question. Send it to the gateway's port at the broadcast address;
 * again after a second, and then every eight seconds. */
static inline void wt_find_ask(uint8_t *to) {
	uint8_t i;
	to[0] = 'W';
	for (i = 1; i < WT_FIND_N; i++) to[i] = 0;
}

/* wt_find_answers returns 1 if a datagram of n bytes is the answer. */
static inline uint8_t wt_find_answers(const uint8_t *frame, uint16_t n) {
	return n == WT_FIND_N && frame[0] == 'W' && frame[1] == 1;
}

/* wt_find_number returns the gateway's number in an answer. */
static inline uint32_t wt_find_number(const uint8_t *frame) {
	return frame[4] | (uint32_t)frame[5] << 8 | (uint32_t)frame[6] << 16 | (uint32_t)frame[7] << 24;
}

#endif
