package audit_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/provision/audit"
)

func TestEncode(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC)
	for _, test := range []struct {
		why   string
		event audit.Event
		want  string
	}{
		{"what is not known is left out", audit.Event{Time: at, Type: audit.Logout},
			`{"time":"2026-03-01T12:00:00.005Z","type":"logout"}`},
		{"names stay readable", audit.Event{Time: at, Type: audit.GroupJoined, Group: "R&D <eu>"},
			`{"time":"2026-03-01T12:00:00.005Z","type":"group_joined","group":"R&D <eu>"}`},
		{"one event is one line", audit.Event{Time: at, Type: audit.Login, Client: "a\nb"},
			`{"time":"2026-03-01T12:00:00.005Z","type":"login","client":"a\nb"}`},
	} {
		got, err := test.event.Encode()
		if err != nil || got != test.want {
			t.Errorf("%s: Encode() = %s, %v, want %s", test.why, got, err, test.want)
		}
	}
}

func TestAppendRead(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx, key := t.Context(), audit.Key(testenv.Prefix(t), "acme")
		want := []audit.Event{
			{Time: time.UnixMilli(1).UTC(), Type: audit.UserCreated, UserName: "ann", Attributes: []string{"email"}},
			{Time: time.UnixMilli(2).UTC(), Type: audit.Login, UserName: "ann", Absent: []string{"title"}},
			{Time: time.UnixMilli(3).UTC(), Type: audit.LoginFailed, Code: "user_conflict"},
		}
		if got, err := audit.Entries(audit.Ask(ctx, rdb, key, "", 10)); err != nil || len(got) != 0 {
			t.Errorf("Read before the first event = %v, %v, want nothing", got, err)
		}
		for _, e := range want {
			if err := audit.Append(ctx, rdb, key, e); err != nil {
				t.Fatal(err)
			}
		}
		var got []audit.Event
		after := ""
		for { // in pages of two, the last of them not full
			page, err := audit.Entries(audit.Ask(ctx, rdb, key, after, 2))
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, entry := range page {
				got, after = append(got, entry.Event), entry.ID
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Read = %+v, want %+v", got, want)
		}

		// An entry that somebody else wrote is told, not skipped.
		rdb.XAdd(ctx, &redis.XAddArgs{Stream: key, Values: []string{audit.Field, "{"}})
		if _, err := audit.Entries(audit.Ask(ctx, rdb, key, after, 2)); err == nil || !strings.Contains(err.Error(), "entry") {
			t.Errorf("Read of a broken entry: error = %v, want one that names the entry", err)
		}

		broken := testenv.Prefix(t)
		rdb.Set(ctx, broken, "not a stream", 0)
		if err := audit.Append(ctx, rdb, broken, want[0]); err == nil {
			t.Error("Append to a key of another type: no error")
		}
	})
}
