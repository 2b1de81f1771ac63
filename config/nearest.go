package config

import "strings"

// renamed maps former names of settings to their present names.
var renamed = map[string]string{
	"limits.mqtt_connections_per_address": "limits.connections_per_address",
}

// nearest returns the candidate that is most similar to a mistyped name, or "" if none
// is similar.
func nearest(name string, candidates []string) string {
	plain := strings.NewReplacer(".", "", "_", "", "-", "")
	wanted := strings.ToLower(plain.Replace(name))
	best, least := "", 1+max(1, min(3, len(wanted)/3))
	if len(wanted) > 64 {
		return "" // no name is that long, and the distance would cost its square
	}
	for _, c := range candidates {
		if d := distance(wanted, strings.ToLower(plain.Replace(c))); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance counts the letters that must be inserted, deleted, changed or swapped with
// their neighbour to turn a into b (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
