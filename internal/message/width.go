package message

import "strings"

// Width returns how many columns a text takes on a terminal.
func Width(s string) (n int) {
	for _, r := range s {
		n += Cells(r)
	}
	return n
}

// Cells returns how many columns a character takes. Wide and fullwidth characters of Unicode's East Asian Width take two.
func Cells(r rune) int {
	if r >= 0x1100 && r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 ||
		r >= 0xf900 && r <= 0xfaff || r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 || r >= 0xffe0 && r <= 0xffe6 ||
		r >= 0x20000 && r <= 0x3fffd {
		return 2
	}
	return 1
}

// Pad appends blanks up to a number of columns.
func Pad(s string, columns int) string {
	return s + strings.Repeat(" ", max(columns-Width(s), 0))
}
