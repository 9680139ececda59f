// Package typo measures how far a mistyped word is from a known one.
package typo

// Distance returns how many bytes must be inserted, deleted, replaced, or swapped with the next one
// to turn a into b (the optimal string alignment distance).
func Distance(a, b string) int {
	var before []int // the line before the last
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		line := make([]int, len(b)+1)
		line[0] = i + 1
		for j := range len(b) {
			changed := last[j]
			if a[i] != b[j] {
				changed++
			}
			line[j+1] = min(last[j+1]+1, line[j]+1, changed)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				line[j+1] = min(line[j+1], before[j-1]+1)
			}
		}
		before, last = last, line
	}
	return last[len(b)]
}
