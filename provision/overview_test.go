package provision

import (
	"reflect"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/deploy/testenv"
)

func TestGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, func(c *config.Config) {
		c.Groups = []config.Group{
			{Name: "staff", Rule: &config.Rule{Group: "engineers"}},
			{Name: "engineers", Rule: &config.Rule{Directory: "acme"}, Entitlements: []string{"wiki"}},
		}
	})
	engineers, staff := Group{"engineers", true, []string{"wiki"}}, Group{"staff", true, nil}
	if got, want := w.Groups(), []Group{engineers, staff}; !reflect.DeepEqual(got, want) {
		t.Errorf("Groups() = %+v, want %+v", got, want)
	}
	for _, test := range []struct {
		why, name string
		want      Group
		ok        bool
	}{
		{"configured", "engineers", engineers, true},
		{"configured, though it may be asserted as well", "staff", staff, true},
		{"an identity provider may assert it", "eng-7", Group{Name: "eng-7"}, true},
		{"a configured one in another case is nobody's", "Staff", Group{}, false},
		{"nobody may assert it", "sales", Group{}, false},
	} {
		if got, ok := w.Group(test.name); !reflect.DeepEqual(got, test.want) || ok != test.ok {
			t.Errorf("%s: Group(%q) = %+v, %v, want %+v, %v", test.why, test.name, got, ok, test.want, test.ok)
		}
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		w := newWorld(t, rdb)
		w.login("other", "userName", "ann")
		w.login("other-any", "userName", "bob")
		w.login("acme", "userName", "ann")
		want := Directory{Name: "other", Domains: []string{"other.example"}, IdPs: []string{"other", "other-any"}, Users: 2, State: StateOpen, Configured: true}
		if got, ok, err := w.Directory(t.Context(), "other"); !reflect.DeepEqual(got, want) || !ok || err != nil {
			t.Errorf("Directory = %+v, %v, %v, want %+v", got, ok, err, want)
		}
		if got, ok, err := w.Directory(t.Context(), "gone"); ok || err != nil {
			t.Errorf("Directory of one that is not configured = %+v, %v", got, err)
		}
	})
}
