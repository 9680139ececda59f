package message

import "strings"

// Width returns how many columns a text takes on a terminal.
func Width(s string) (n int) {
	for _, r := range s {
		n += Cells(r)
	}
	return n
}

// wide are the first and the last characters of the ranges that take two columns: wide and fullwidth ones of Unicode's
// East Asian Width.
var wide = [...][2]rune{
	{0x1100, 0x115f}, {0x2e80, 0xa4cf}, {0xac00, 0xd7a3}, {0xf900, 0xfaff}, {0xfe30, 0xfe6f}, {0xff00, 0xff60},
	{0xffe0, 0xffe6}, {0x20000, 0x3fffd},
}

// Cells returns how many columns a character takes.
func Cells(r rune) int {
	for _, w := range wide {
		if w[0] <= r && r <= w[1] {
			return 2
		}
	}
	return 1
}

// Pad appends blanks up to a number of columns.
func Pad(s string, columns int) string {
	return s + strings.Repeat(" ", max(columns-Width(s), 0))
}
