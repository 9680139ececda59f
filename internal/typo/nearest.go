package typo

// Nearest is the word that a mistyped one is closest to; empty: none is close.
func Nearest(typed string, words []string) string {
	best, least := "", 3
	for _, w := range words {
		if d := Distance(typed, w); d < least && d < len(w) {
			best, least = w, d
		}
	}
	return best
}
