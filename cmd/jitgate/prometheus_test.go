package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// needPrometheus skips the test where Prometheus or its tool is missing.
func needPrometheus(t *testing.T) {
	t.Helper()
	for _, program := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(program); err != nil {
			testenv.Need(t, program, "apt-get install prometheus")
		}
	}
}

// TestAlerts has Prometheus' own tool look at the alerts and at what they say when.
func TestAlerts(t *testing.T) {
	t.Parallel()
	needPrometheus(t)
	testenv.Reads(t, "../../deploy/prometheus")
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		c := exec.Command("promtool", args...)
		c.Dir = "../../deploy/prometheus"
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// The configuration of compose is one, with the alerts beside it as they are mounted.
func TestComposePrometheus(t *testing.T) {
	t.Parallel()
	needPrometheus(t)
	dir := t.TempDir()
	for _, file := range []string{"../../deploy/compose/prometheus.yml", "../../deploy/prometheus/alerts.yml"} {
		data, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(file)), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("promtool", "check", "config", filepath.Join(dir, "prometheus.yml")).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// queries returns all of the dashboard, by the titles of its panels.
func queries(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile("../../deploy/grafana/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			all[p.Title] = append(all[p.Title], target.Expr)
		}
	}
	return all
}

// TestDashboard has a real Prometheus read what a gateway says, and answer each query of
// the dashboard and each expression of the alerts.
func TestDashboard(t *testing.T) {
	t.Parallel()
	needPrometheus(t)
	idp := localIdP(t)
	config := strings.Replace(oneIdP, "upstream: %q", "upstreams: [%q, \"http://127.0.0.1:1\"]", 1)
	g := newSite(t).start("127.0.0.1", 0, fmt.Sprintf(config, "{embedded: true}", idp.EntityID(), echoUpstream(t).URL))
	introduceSP(t, idp, g.file)
	g.signIn(t)
	idp.SetAttribute("ann", "email", "ann@elsewhere.example")
	refused, err := testenv.NewBrowser(t, nil).Login(g.base+"/page", "", "ann", "ann")
	if err != nil || refused.Status != http.StatusForbidden {
		t.Fatalf("an address of another domain: %v %v", refused, err)
	}

	dir, port := t.TempDir(), testenv.FreePort(t)
	scrapes, err := os.ReadFile("../../deploy/prometheus/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := os.ReadFile("../../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("127.0.0.1:9090", strings.TrimPrefix(g.admin, "http://"), "scrape_interval: 15s", "scrape_interval: 200ms").Replace(string(scrapes))
	for name, data := range map[string]string{"prometheus.yml": text, "alerts.yml": string(alerts)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Program(t, port, "prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port), "--log.level=error")
	ask := func(query string) ([]json.RawMessage, error) {
		query = strings.NewReplacer("$__rate_interval", "1m", "$app", ".*").Replace(query)
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/api/v1/query?query=%s", port, url.QueryEscape(query)))
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return nil, err
		}
		var answer struct {
			Status, Error string
			Data          struct{ Result []json.RawMessage }
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return nil, fmt.Errorf("%w: %s", err, body)
		}
		if answer.Status != "success" {
			return nil, errors.New(answer.Error)
		}
		return answer.Data.Result, nil
	}
	testenv.Eventually(t, func() error {
		if found, err := ask(`rate(jitgate_logins_total[1m])`); err != nil || len(found) == 0 {
			return fmt.Errorf("%d answers: %v", len(found), err)
		}
		return nil
	})
	n := 0
	for panel, all := range queries(t) {
		for _, query := range all {
			n++
			switch found, err := ask(query); {
			case err != nil:
				t.Errorf("%s: %s: %v", panel, query, err)
			case len(found) == 0:
				t.Errorf("%s: %s: no answer", panel, query)
			}
		}
	}
	if n < 20 {
		t.Errorf("the dashboard has %d queries", n)
	}
	wantKnown(t, g, string(alerts))
}

// wantKnown wants each metric that the alerts ask for among those of the gateway.
func wantKnown(t *testing.T, g *replica, alerts string) {
	t.Helper()
	res, err := http.Get(g.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	exposed, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`\bjitgate_\w+`).FindAllString(alerts, -1) {
		if !strings.Contains(string(exposed), "\n"+name) {
			t.Errorf("an alert asks for %s, which there is not", name)
		}
	}
}
