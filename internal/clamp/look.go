package clamp

import "context"

// Look returns the rules of this host that clamp forwarded TCP connections which leave by an interface. Only root may
// read them.
func Look(ctx context.Context, link string) ([]Rule, error) {
	tables, err := nft()
	if err != nil {
		return nil, err
	}
	older, err := legacy(ctx)
	if err != nil {
		return nil, err
	}
	var found []Rule
	for _, t := range append(tables, older...) {
		found = append(found, t.find(link)...)
	}
	return found, nil
}
