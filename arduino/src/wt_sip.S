; SipHash-2-4 for AVR with registers in the data space (all but xmega and the 0-series).
; Made small, not fast: a tag of a frame of 64 bytes takes 1.5 ms at 16 MHz.
;
;   uint8_t wt_check(const uint8_t *key, uint8_t *text, uint8_t n);
;   void wt_tag(const uint8_t *key, uint8_t *text, uint8_t n);
;
; wt_check XORs the tag of n bytes (at most 247) into the 8 bytes behind them, and returns
; the OR of what is then there: 0 if the tag was right. wt_tag writes the tag there.
;
; The state v0 v1 v2 v3 is pushed onto the stack. A word that turns is in r16 to r23, and
; Z walks over these as memory: bit 3 of its low byte is set one past r23.

#if defined(__AVR__) && !defined(__AVR_XMEGA__)

	.section .progmem.data.wt_sip,"a",@progbits
start:	.ascii "tedbytes" "lygenera" "dorandom" "somepseu" ; of v3 v2 v1 v0, last bytes first

	.section .text.wt_sip,"ax",@progbits
	.global wt_tag
	.global wt_check
	.type wt_tag,@function
	.type wt_check,@function

wt_tag:
	movw r26,r22
	add r26,r20
	adc r27,r1
	ldi r18,8
.Lzero:	st X+,r1
	dec r18
	brne .Lzero

wt_check:
	push r16
	push r17
	push r28
	push r29
	push r20		; the length, behind the state: at Y+24
	ldi r30,lo8(start)
	ldi r31,hi8(start)
.Ltwice:
	movw r26,r24
	adiw r26,16
.Lpush:	lpm r0,Z+
	ld r1,-X
	eor r0,r1
	push r0
	cp r26,r24
	brne .Lpush
	cpi r30,lo8(start+32)
	brne .Ltwice
	in r26,0x3d
	in r27,0x3e
	adiw r26,1		; X: v0
	movw r28,r26
	adiw r28,8		; Y: v1
	movw r30,r22

.Lblock:			; Z: the text, r20: bytes left of it
	push r20
	push r30
	push r31
	adiw r26,24
	rcall .Lmix		; v3 ^= block
	sbiw r26,32
	rcall .Ltwo
	pop r31
	pop r30
	pop r20
	rcall .Lmix		; v0 ^= block
	sbiw r26,8
	subi r20,8
	brcc .Lblock

	push r30		; Z: where the tag is
	push r31
	ldd r0,Y+8
	com r0
	std Y+8,r0		; v2 ^= 0xff
	rcall .Lfour
	pop r31
	pop r30
	ldi r20,4
.Lword:	ldi r19,8		; the state leaves the stack word by word
	clr r24
.Lbyte:	pop r0
	ld r1,Z
	eor r0,r1
	st Z+,r0
	or r24,r0
	dec r19
	brne .Lbyte
	sbiw r30,8
	dec r20
	brne .Lword
	clr r1
	pop r20
	pop r29
	pop r28
	pop r17
	pop r16
	ret

; X ^= the next 8 bytes at Z, of which r20 are text. The last byte of the last block is the length.
.Lmix:	mov r21,r20
	ldi r25,8
.Lnext:	clr r0
	cpi r25,1
	brne .Ltext
	ldd r0,Y+24
.Ltext:	tst r21
	breq .Lput
	dec r21
	ld r0,Z+
.Lput:	ld r1,X
	eor r1,r0
	st X+,r1
	dec r25
	brne .Lnext
	ret

; Rounds. X: v0, Y: v1, before and after.
.Lfour:	rcall .Ltwo
.Ltwo:	rcall .Lround
.Lround:
	ldi r24,0x5f		; v0 v1, 13 bits: 5 and a byte
	rcall .Lstep
	adiw r26,16
	adiw r28,16
	ldi r24,0x06		; v2 v3, 16 bits
	rcall .Lstep
	sbiw r28,16
	ldi r24,0x1e		; v2 v1, 17 bits
	rcall .Lstep
	sbiw r26,16
	adiw r28,16
	ldi r24,0x56		; v0 v3, 21 bits
	rcall .Lstep
	sbiw r28,16
	ret

; X += Y; Y = Y turned left, ^ X; then X changes halves if bit 3 of r24 is set. Y is turned by
; as many bits as the high half of r24 says, and by 8 less bits 0 to 2 of it bytes.
.Lstep:	ldi r30,16
	sub r31,r31		; no carry
.Ladd:	ld r0,Y+
	st Z+,r0
	ld r1,X
	adc r1,r0
	st X+,r1
	sbrs r30,3
	rjmp .Ladd
	rjmp .Lmore
.Lbit:	lsl r16
	rol r17
	rol r18
	rol r19
	rol r20
	rol r21
	rol r22
	rol r23
	adc r16,r31
.Lmore:	subi r24,0x10
	brcc .Lbit
	mov r30,r24
	andi r30,0x17
	ldi r25,8		; from the last byte down
.Lxor:	dec r30
	sbr r30,0x10		; below r16 is r23
	cbr r30,8
	ld r0,Z
	ld r1,-X
	eor r0,r1
	st -Y,r0
	dec r25
	brne .Lxor
	sbrs r24,3
	ret
	movw r30,r26
	ldi r25,4
.Lswap:	ld r0,Z
	ldd r1,Z+4
	std Z+4,r0
	st Z+,r1
	dec r25
	brne .Lswap
	ret
	.size wt_check,.-wt_check
#endif
