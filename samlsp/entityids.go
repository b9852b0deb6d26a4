package samlsp

import (
	"fmt"
	"sync"
)

// EntityIDs are those of all IdPs of a gateway. Each is of one alone: in
// responses an entity ID is the name of who speaks, and two IdPs of one name
// could pass for each other. The zero EntityIDs is ready to use.
type EntityIDs struct {
	mu    sync.Mutex
	taken map[string]*SP
}

// take makes id that of sp, in place of the one it had before. It is an error if
// another SP has it. A nil EntityIDs knows of no others.
func (e *EntityIDs) take(sp *SP, id string) error {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if other, ok := e.taken[id]; ok && other != sp {
		return fmt.Errorf("entity ID %q is that of the identity provider %q already", id, other.o.Name)
	}
	for before, owner := range e.taken {
		if owner == sp {
			delete(e.taken, before)
		}
	}
	if e.taken == nil {
		e.taken = make(map[string]*SP)
	}
	e.taken[id] = sp
	return nil
}
