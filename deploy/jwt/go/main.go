// Command go is an app that believes no header, but the token: with nothing but the
// standard library.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

var (
	issuer   = os.Getenv("ISSUER") // base_url of jitgate
	audience = os.Getenv("APP")    // the app's name in jitgate.yaml
	address  = os.Getenv("JWKS")   // of the keys, where that is not below the issuer
)

func main() {
	if address == "" {
		address = issuer + "/.jitgate/jwks.json"
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c, err := user(r.Header.Get("X-Jitgate-Assertion"))
		if err != nil {
			http.Error(w, "no token", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, c.UserName)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}

// keys are the public keys, by their IDs.
var keys struct {
	sync.Mutex
	all  map[string]*ecdsa.PublicKey
	read time.Time
}

// key returns the public key of an ID. The keys are read again after five minutes, and
// where there is a new one, but not more than every ten seconds.
func key(id string) (*ecdsa.PublicKey, error) {
	keys.Lock()
	defer keys.Unlock()
	age := time.Since(keys.read)
	if _, known := keys.all[id]; age > 5*time.Minute || !known && age > 10*time.Second {
		keys.read = time.Now()
		res, err := http.Get(address)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		var set struct {
			Keys []struct{ Kid, X, Y string }
		}
		if err := json.NewDecoder(res.Body).Decode(&set); err != nil {
			return nil, err
		}
		keys.all = make(map[string]*ecdsa.PublicKey)
		for _, k := range set.Keys {
			x, _ := base64.RawURLEncoding.DecodeString(k.X)
			y, _ := base64.RawURLEncoding.DecodeString(k.Y)
			public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
			if err != nil {
				return nil, err
			}
			keys.all[k.Kid] = public
		}
	}
	if keys.all[id] == nil {
		return nil, fmt.Errorf("no key %q", id)
	}
	return keys.all[id], nil
}

// claims are what a token says.
type claims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Expires  int64  `json:"exp"`
	UserName string `json:"preferred_username"`
}

// user returns the claims of who sent a request.
func user(token string) (c claims, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, errors.New("not a token")
	}
	var header struct{ Alg, Kid string }
	if err := decode(parts[0], &header); err != nil {
		return c, err
	}
	by, err := key(header.Kid)
	if err != nil {
		return c, err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || header.Alg != "ES256" || len(signature) != 64 ||
		!ecdsa.Verify(by, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return c, errors.New("not signed")
	}
	if err := decode(parts[1], &c); err != nil {
		return c, err
	}
	if c.Issuer != issuer || c.Audience != audience || time.Now().Unix() >= c.Expires {
		return c, errors.New("not for us, or too old")
	}
	return c, nil
}

func decode(part string, v any) error {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}
