package provision

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrCursor is the error of a listing that is to go on from nowhere.
var ErrCursor = errors.New("not a place in a listing")

// Find returns the users that name is the ID or the userName of, in one
// directory or, if directory is empty, in all.
func (r *Registry) Find(ctx context.Context, directory, name string) ([]User, error) {
	var all []User
	for _, d := range r.directories {
		if directory != "" && directory != d.Name {
			continue
		}
		var fields []string
		for _, domain := range d.Domains {
			fields = append(fields, nameField(domain, name))
		}
		ids, err := r.rdb.HMGet(ctx, r.keys(d.Name).names, fields...).Result()
		if err != nil {
			return nil, fmt.Errorf("finding users: %w", err)
		}
		wanted := []string{name}
		for _, id := range ids {
			if id, ok := id.(string); ok {
				wanted = append(wanted, id)
			}
		}
		users, err := r.fetch(ctx, d.Name, wanted...)
		if err != nil {
			return nil, err
		}
		all = append(all, users...)
	}
	return all, nil
}

// Beginning returns up to limit users whose userName begins with a text, whatever
// the case of ASCII letters, in one directory or, if directory is empty, in all.
func (r *Registry) Beginning(ctx context.Context, directory, text string, limit int) ([]User, error) {
	var all []User
	for _, d := range r.directories {
		if directory != "" && directory != d.Name {
			continue
		}
		for _, domain := range d.Domains {
			if len(all) >= limit {
				return all, nil
			}
			from := "[" + nameField(domain, text)
			// No member has the byte 0xff, which is in no UTF-8.
			by := &redis.ZRangeBy{Min: from, Max: from + "\xff", Count: int64(limit - len(all))}
			members, err := r.rdb.ZRangeByLex(ctx, r.keys(d.Name).list, by).Result()
			if err != nil {
				return nil, fmt.Errorf("finding users: %w", err)
			}
			users, err := r.fetch(ctx, d.Name, idsOf(members)...)
			if err != nil {
				return nil, err
			}
			all = append(all, users...)
		}
	}
	return all, nil
}

// List returns up to limit users, at least one, of one directory or, if directory
// is empty, of all, ordered by directory, domain and userName. It begins after
// the user that an earlier call's next stands for, or at the first where after
// is empty; next is empty where there are no more. The error is [ErrCursor]
// where after is nobody's next.
func (r *Registry) List(ctx context.Context, directory, after string, limit int) (users []User, next string, err error) {
	limit = max(limit, 1)
	from, member, err := decodeCursor(after)
	if err != nil {
		return nil, "", err
	}
	for _, name := range r.Directories() {
		if name < from || directory != "" && name != directory {
			continue
		}
		begin := ""
		if name == from {
			begin = member
		}
		members, err := r.members(ctx, name, begin, limit-len(users)+1)
		if err != nil {
			return nil, "", err
		}
		more := len(members) > limit-len(users)
		if more {
			members = members[:limit-len(users)]
		}
		page, err := r.fetch(ctx, name, idsOf(members)...)
		if err != nil {
			return nil, "", err
		}
		users = append(users, page...)
		if len(members) > 0 {
			from, member = name, members[len(members)-1]
		}
		if more {
			return users, encodeCursor(from, member), nil
		}
	}
	return users, "", nil
}

// members returns up to limit members of a directory's list, after one of them or,
// where that is empty, from the first on.
func (r *Registry) members(ctx context.Context, directory, after string, limit int) ([]string, error) {
	by := &redis.ZRangeBy{Min: "-", Max: "+", Count: int64(limit)}
	if after != "" {
		by.Min = "(" + after
	}
	members, err := r.rdb.ZRangeByLex(ctx, r.keys(directory).list, by).Result()
	if err != nil {
		return nil, fmt.Errorf("listing users: %w", err)
	}
	return members, nil
}

// idOf returns the user ID in a member of a directory's list.
func idOf(member string) string {
	_, id, _ := strings.Cut(member, "\x00")
	return id
}

// idsOf is idOf for several.
func idsOf(members []string) []string {
	ids := make([]string, len(members))
	for i, m := range members {
		ids[i] = idOf(m)
	}
	return ids
}

// encodeCursor returns the place in a listing after one member of a directory's list.
func encodeCursor(directory, member string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(directory + "\x00" + member))
}

// decodeCursor is the reverse of encodeCursor. The empty cursor is before everything.
func decodeCursor(cursor string) (directory, member string, err error) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	directory, member, ok := strings.Cut(string(text), "\x00")
	if err != nil || !ok && cursor != "" {
		return "", "", fmt.Errorf("%q is %w", cursor, ErrCursor)
	}
	return directory, member, nil
}
