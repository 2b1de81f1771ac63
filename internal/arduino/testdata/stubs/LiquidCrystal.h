// Enough of the library LiquidCrystal to compile the examples.
#ifndef LiquidCrystal_h
#define LiquidCrystal_h
#include <Print.h>

class LiquidCrystal : public Print {
public:
	LiquidCrystal(uint8_t rs, uint8_t e, uint8_t d4, uint8_t d5, uint8_t d6, uint8_t d7);
	void begin(uint8_t columns, uint8_t rows);
	void clear();
	size_t write(uint8_t) override;
	using Print::write;
};
#endif
