// Package deploy holds what runs jitgate outside of its tests; here it is checked
// that those files keep what they promise.
package deploy

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// A stage is one FROM of a Dockerfile, with the instructions below it.
type stage struct {
	from         string
	instructions [][2]string // name and arguments
}

// readDockerfile splits the Dockerfile into stages.
func readDockerfile(t *testing.T) []stage {
	t.Helper()
	var stages []stage
	arguments := make(map[string]string)
	for line := range strings.Lines(strings.ReplaceAll(read(t, "../Dockerfile"), "\\\n", " ")) {
		name, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		args = strings.Join(strings.Fields(args), " ")
		switch {
		case name == "" || strings.HasPrefix(name, "#"):
		case name == "FROM":
			for argument, value := range arguments {
				args = strings.ReplaceAll(args, argument, value)
			}
			stages = append(stages, stage{from: args})
		case name == "ARG" && len(stages) == 0: // for FROM
			argument, value, _ := strings.Cut(args, "=")
			arguments["${"+argument+"}"] = value
		case len(stages) == 0:
			t.Fatalf("%s %s comes before FROM", name, args)
		default:
			s := &stages[len(stages)-1]
			s.instructions = append(s.instructions, [2]string{name, args})
		}
	}
	return stages
}

// all returns the arguments of every instruction of that name.
func (s stage) all(name string) []string {
	var out []string
	for _, i := range s.instructions {
		if i[0] == name {
			out = append(out, i[1])
		}
	}
	return out
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	stages := readDockerfile(t)
	if len(stages) != 2 {
		t.Fatalf("stages = %d, want one that builds and one that stays", len(stages))
	}
	build, final := stages[0], stages[1]
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))[1]
	if want := "golang:" + version + " AS build"; !strings.HasSuffix(build.from, want) {
		t.Errorf("first stage is from %q, want %q, the version of go.mod", build.from, want)
	}
	if got, want := final.from, "scratch"; got != want {
		t.Errorf("last stage is from %q, want %q", got, want)
	}
	if got, want := final.all("USER"), []string{"65532:65532"}; !slices.Equal(got, want) {
		t.Errorf("USER = %q, want %q: numeric, since there is no passwd, and not root", got, want)
	}
	if got, want := final.all("ENTRYPOINT"), []string{`["/usr/bin/jitgate"]`}; !slices.Equal(got, want) {
		t.Errorf("ENTRYPOINT = %q, want %q: there is no shell for another form", got, want)
	}
	if got := final.all("RUN"); got != nil {
		t.Errorf("RUN %q in an image without a shell", got)
	}
	labels := strings.Join(final.all("LABEL"), " ")
	for _, label := range []string{"title", "description", "source", "documentation", "version", "revision"} {
		if !strings.Contains(labels, "org.opencontainers.image."+label+"=") {
			t.Errorf("LABEL %s, want the image's %s", labels, label)
		}
	}
	if got := final.all("HEALTHCHECK"); len(got) != 1 || !strings.Contains(got[0], `CMD ["/usr/bin/jitgate", "healthcheck"`) {
		t.Errorf("HEALTHCHECK %q, want one by the program itself", got)
	}
	for _, copied := range final.all("COPY") {
		if !strings.HasPrefix(copied, "--from=build ") {
			t.Errorf("COPY %s, want only what the build stage made", copied)
		}
	}
	if !slices.Contains(final.all("COPY"), "--from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt") {
		t.Error("no certificate authorities: metadata URLs could not be read")
	}
}

// TestDockerBuild runs the image's build command on the files that .dockerignore
// lets through, and looks at the program.
func TestDockerBuild(t *testing.T) {
	t.Parallel()
	stages := readDockerfile(t)
	commands := stages[0].all("RUN")
	command := commands[len(commands)-1]
	if !strings.Contains(command, "go build") {
		t.Fatalf("last RUN = %q, want the build", command)
	}
	src, out := t.TempDir(), t.TempDir()
	copyContext(t, src)
	cmd := exec.Command("sh", "-c", strings.ReplaceAll(command, "/out/", out+"/"))
	cmd.Dir = src
	cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+runtime.GOARCH)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, output)
	}

	// What the last stage takes has to be there.
	for _, copied := range stages[1].all("COPY") {
		for _, arg := range strings.Fields(copied) {
			if path, ok := strings.CutPrefix(arg, "/out/"); ok {
				if _, err := os.Stat(filepath.Join(out, path)); err != nil {
					t.Errorf("COPY %s: %v", copied, err)
				}
			}
		}
	}
	binary := filepath.Join(out, "jitgate")
	wantReproducible(t, binary, src)
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program needs a dynamic linker, which the image has not")
		}
	}
	if libraries, err := f.ImportedLibraries(); len(libraries) > 0 {
		t.Errorf("libraries = %q (%v), want none", libraries, err)
	}

	if runtime.GOOS != "linux" {
		return
	}
	// The default arguments are understood: only the configuration is missing.
	args := strings.FieldsFunc(stages[1].all("CMD")[0], func(r rune) bool { return strings.ContainsRune(`[", ]`, r) })
	run := exec.Command(binary, args...)
	output, err := run.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(output), "/etc/jitgate/jitgate.yaml") {
		t.Errorf("jitgate %q: %v, %s, want exit status 1 and the missing file", args, err, output)
	}
}

// wantReproducible looks for what would make the same source another program elsewhere, or
// another image later: paths, commits, times, and C.
func wantReproducible(t *testing.T, binary, src string) {
	t.Helper()
	data, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(src)) {
		t.Errorf("the program has %s in it, where it was built", src)
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
		if strings.HasPrefix(s.Key, "vcs") {
			t.Errorf("the program has %s=%s in it", s.Key, s.Value)
		}
	}
	if settings["-trimpath"] != "true" || settings["CGO_ENABLED"] != "0" {
		t.Errorf("built with %v, want -trimpath and no C", settings)
	}
	at, err := os.Stat(binary)
	if err != nil || at.ModTime().Unix() != 0 {
		t.Errorf("the program is of %v (%v), want of no time", at.ModTime(), err)
	}
}

// copyContext copies what .dockerignore lets through, which is written as a list
// of what to keep and patterns of what to leave out of that.
func copyContext(t *testing.T, to string) {
	t.Helper()
	var keep, drop []string
	for line := range strings.Lines(read(t, "../.dockerignore")) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "!"); ok {
			keep = append(keep, name)
		} else if name, ok := strings.CutPrefix(line, "**/"); ok {
			drop = append(drop, name)
		}
	}
	for _, root := range keep {
		err := filepath.WalkDir(filepath.Join("..", root), func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			dropped := slices.ContainsFunc(drop, func(pattern string) bool {
				ok, _ := filepath.Match(pattern, d.Name())
				return ok
			})
			target := filepath.Join(to, strings.TrimPrefix(path, "../"))
			switch {
			case dropped && d.IsDir():
				return filepath.SkipDir
			case dropped:
				return nil
			case d.IsDir():
				return os.MkdirAll(target, 0o755)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(target, data, 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
