package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// newToken returns what the cookie of a new session of o is to hold: a random ID
// and whose it is. Names of directories have no spaces.
func newToken(o Owner) []byte {
	token := make([]byte, idBytes, idBytes+len(o.Directory)+1+len(o.UserID))
	_, _ = rand.Read(token) // never fails
	return append(token, o.Directory+" "+o.UserID...)
}

// OwnerOf returns whose session a token is of.
func OwnerOf(token []byte) Owner {
	if len(token) < idBytes {
		return Owner{}
	}
	directory, user, _ := strings.Cut(string(token[idBytes:]), " ")
	return Owner{directory, user}
}

// KeyOf returns what a token's session is called, by Record.Key: the name of the
// directory, a dot, and the [Hash] of the token.
func KeyOf(token []byte) string {
	return OwnerOf(token).Directory + "." + Hash(token)
}

// Hash returns how a secret is named in Redis: base64url of its SHA-256.
func Hash(secret []byte) string {
	sum := sha256.Sum256(secret)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
