package typo

// Nearest returns the word that is closest to a mistyped one; empty: none is close.
func Nearest(typed string, words []string) string {
	best, least := "", 3
	for _, w := range words {
		if d := Distance(typed, w); d < least && d < len(w) {
			best, least = w, d
		}
	}
	return best
}
