/* What each C library has. */
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t n) {
	char *t = to;
	const char *f = from;
	while (n--) *t++ = *f++;
	return to;
}
void *memset(void *to, int c, size_t n) {
	char *t = to;
	while (n--) *t++ = (char)c;
	return to;
}
