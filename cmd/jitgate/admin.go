package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

// usersPage is how many users the gateway is asked for at a time.
const usersPage = 500

// adminFlags are those of the commands that ask the running gateway.
type adminFlags struct {
	config, directory, output string
}

// add adds the flags that all of them have to c, and has them checked before it
// runs.
func (f *adminFlags) add(c *cobra.Command) {
	configFlag(c, &f.config)
	c.Flags().StringVarP(&f.output, "output", "o", "table", "`table` or json")
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		if f.output != "table" && f.output != "json" {
			return usageError{c.CommandPath(), fmt.Errorf("--output %q: want table or json", f.output)}
		}
		return nil
	}
}

// addDirectory adds --directory, which leaves out what is of other directories.
func (f *adminFlags) addDirectory(c *cobra.Command) {
	c.Flags().StringVar(&f.directory, "directory", "", "only users of this `directory`")
}

func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// errNoGateway is the error where nobody listens at the admin socket.
var errNoGateway = errors.New("no gateway answers")

// askGateway asks the running gateway over the admin socket that file names,
// and decodes its JSON answer into answer. A question is a method and a path,
// like "GET /users".
func askGateway(ctx context.Context, file, question string, answer any) error {
	return askGatewayWith(ctx, file, question, nil, answer)
}

// askGatewayWith is askGateway for a question that has a body, as JSON.
func askGatewayWith(ctx context.Context, file, question string, body, answer any) error {
	socket, err := adminSocket(file)
	if err != nil {
		return err
	}
	client := &http.Client{
		Timeout: 30 * time.Second,
		// Of a path with "..", say, the server would make another question.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
			DisableKeepAlives: true,
		},
	}
	method, path, _ := strings.Cut(question, " ")
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://jitgate"+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return hintError{fmt.Errorf("%w at %q", errNoGateway, socket), "is it running, with the same configuration file? another admin.socket takes a restart"}
	case errors.Is(err, fs.ErrPermission):
		return hintError{fmt.Errorf("no permission to use %q", socket), "run this as the user that runs the gateway"}
	case err != nil:
		return fmt.Errorf("asking the gateway at %q: %w", socket, err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 == 3 {
		return fmt.Errorf("the gateway knows no %q", path)
	}
	if res.StatusCode != http.StatusOK {
		var problem struct {
			Error string `json:"error"`
		}
		if json.NewDecoder(res.Body).Decode(&problem) != nil || problem.Error == "" {
			problem.Error = res.Status
		}
		return fmt.Errorf("the gateway answers: %s", problem.Error)
	}
	if err := json.NewDecoder(res.Body).Decode(answer); err != nil {
		return fmt.Errorf("reading the gateway's answer: %w", err)
	}
	return nil
}

// pages asks a question again and again, for one part of the answer after the
// other. Use gets each part and returns its next.
func pages[T any](ctx context.Context, f adminFlags, question string, q url.Values, use func(T) (next string, err error)) error {
	for {
		var part T
		if err := askGateway(ctx, f.config, question+"?"+q.Encode(), &part); err != nil {
			return err
		}
		next, err := use(part)
		if err != nil || next == "" {
			return err
		}
		q.Set("after", next)
	}
}

// printJSON prints one JSON object a line.
func printJSON[T any](out io.Writer, all ...T) error {
	for _, v := range all {
		line, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := printJSONLine(out, string(line)); err != nil {
			return err
		}
	}
	return nil
}

// printJSONLine prints JSON with what would move a terminal's cursor escaped, as
// JSON itself does for half of that.
func printJSONLine(out io.Writer, line string) error {
	var b strings.Builder
	for _, c := range line {
		if unicode.IsPrint(c) {
			b.WriteRune(c)
			continue
		}
		for _, half := range utf16.Encode([]rune{c}) {
			fmt.Fprintf(&b, `\u%04x`, half)
		}
	}
	_, err := fmt.Fprintln(out, b.String())
	return err
}

// adminSocket finds the socket that a configuration file names. The rest of the
// file is left alone: whoever asks the gateway may not have its secrets.
func adminSocket(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", hintError{err, "name the configuration file with -c"}
	}
	var c struct {
		Admin struct {
			Socket string `yaml:"socket"`
		} `yaml:"admin"`
	}
	if err := yaml.Unmarshal(data, &c); err != nil {
		return "", hintError{fmt.Errorf("%q is not YAML, and does not tell the admin socket", file), "see jitgate check -c " + file}
	}
	if c.Admin.Socket == "" {
		return "", hintError{fmt.Errorf("%q names no admin socket", file), "add one, such as admin: {socket: /run/jitgate/admin.sock}, and restart the gateway"}
	}
	if !filepath.IsAbs(c.Admin.Socket) {
		return filepath.Join(filepath.Dir(file), c.Admin.Socket), nil
	}
	return c.Admin.Socket, nil
}
