package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/config"
)

// imports are configurations of other programs, below testdata/import.
var imports = [][]string{{"mellon", "mellon.conf"}, {"shibboleth", "shibboleth2.xml"}, {"saml-auth-proxy", "proxy.env"}}

// TestImport compares what is made of configurations of other programs with the files
// beside them, and has it checked.
func TestImport(t *testing.T) {
	t.Parallel()
	for _, c := range imports {
		dir := "testdata/import"
		got := output(t, "import", c[0], filepath.Join(dir, c[1]))
		golden := filepath.Join(dir, c[0]+".yaml")
		if *updateGolden {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is made of %s; with -update that becomes %s", got, c[1], golden)
		}
		checkImported(t, c[0], got)
	}
}

// checkImported has a configuration checked, with which nothing may be wrong but files
// that are not here, and who may use an app where that could not be carried over.
func checkImported(t *testing.T, name, text string) {
	t.Helper()
	_, err := config.Parse("jitgate.yaml", []byte(text), t.TempDir())
	problems, ok := errors.AsType[config.Problems](err)
	if !ok {
		t.Errorf("%s: %v, want problems with files", name, err)
	}
	unclear := 0
	for _, p := range problems {
		switch {
		case strings.HasPrefix(p.Text, "cannot read"):
		case strings.HasSuffix(p.Key, ".allow") && strings.HasPrefix(p.Text, "is missing"):
			unclear++
		default:
			t.Errorf("%s: %s", name, p)
		}
	}
	if want := strings.Count(text, "# allow:"); unclear != want {
		t.Errorf("%s: %d apps without allow, want %d", name, unclear, want)
	}
}

// whoMay matches what a configuration says of the path of an app, and who may use it.
var whoMay = regexp.MustCompile(`(?m)^    (path|allow|# allow): (.*)$`)

// mayUse returns who may use each app of a configuration, by path: {any_user: true},
// {groups: […]} or nobody.
func mayUse(text string) string {
	var all []string
	path := "/"
	for _, found := range whoMay.FindAllStringSubmatch(text, -1) {
		switch found[1] {
		case "path":
			path = strings.Trim(found[2], `"`)
			continue
		case "allow":
			all = append(all, path+" "+found[2])
		default:
			all = append(all, path+" nobody")
		}
		path = "/"
	}
	return strings.Join(all, "; ")
}

// TestImportFailsClosed has conditions that are not understood keep everybody out until
// somebody has looked at them.
func TestImportFailsClosed(t *testing.T) {
	t.Parallel()
	for program, p := range map[string]struct {
		read  func([]byte) (*imported, error)
		cases map[string][2]string
	}{
		"mellon":          {readMellonCase, mellonCases},
		"shibboleth":      {readShibbolethCase, shibbolethCases},
		"saml-auth-proxy": {readProxyCase, proxyCases},
	} {
		for why, c := range p.cases {
			m, err := p.read([]byte(c[0]))
			if err != nil {
				t.Errorf("%s: %s: %v", program, why, err)
				continue
			}
			text := m.yaml("x")
			if got := mayUse(text); got != c[1] {
				t.Errorf("%s: %s: %s may use it, want %s: %q", program, why, got, c[1], m.notes)
			}
			if strings.Contains(c[1], "nobody") && len(m.notes) == 0 {
				t.Errorf("%s: %s: nothing is said of it", program, why)
			}
			checkImported(t, program+": "+why, text)
		}
	}
	for why, data := range map[string]string{"nothing": "", "no place": "MellonIdPMetadataFile x\n", "no identity provider": "<Location />\nMellonEnable auth\n</Location>"} {
		if _, err := importMellon([]byte(data)); err == nil {
			t.Errorf("%s: is imported", why)
		}
	}
	for why, data := range map[string]string{"no XML": "x", "another file": "<Attributes/>", "no metadata": "<SPConfig/>"} {
		if _, err := importShibboleth([]byte(data), "testdata/import", ""); err == nil {
			t.Errorf("%s: is imported", why)
		}
	}
	if _, err := importProxy([]byte("SAML_PROXY_BIND=:1\n")); err == nil {
		t.Error("a proxy without an identity provider is imported")
	}
}

// Options on a command line are read as those in the environment.
func TestImportOptions(t *testing.T) {
	t.Parallel()
	m, err := importProxy([]byte("./saml-auth-proxy \\\n  --base-url https://a.example/x \\\n  --backend-url=http://b:1/y \\\n  --idp-metadata-url 'https://idp.example/m' \\\n  --attribute-header-mappings UserID=x-webauth-user\n"))
	if err != nil {
		t.Fatal(err)
	}
	if m.base != "https://a.example" || m.apps[0].upstream != "http://b:1" || m.idps[0].url != "https://idp.example/m" || len(m.apps[0].headers) != 1 || m.apps[0].headers[0] != (mapping{"x-webauth-user", "UserID"}) {
		t.Errorf("imported %+v", m)
	}
}

// TestImportMeans has what a directive or an option means in its program be in the
// configuration: each text, a line of it.
func TestImportMeans(t *testing.T) {
	t.Parallel()
	const (
		mellon = "ServerName a.example\nMellonIdPMetadataFile idp.xml\nProxyPass / http://127.0.0.1:9000/\n" + mellonAny
		proxy  = "SAML_PROXY_IDP_METADATA_URL=https://idp.example/m\n"
	)
	for why, c := range map[string]struct {
		read           func([]byte) (*imported, error)
		data           string
		want, mustMiss string
	}{
		"MellonUser as it is without":       {importMellon, mellon + "MellonUser NAME_ID", "no MellonUser", "NAME_ID\""},
		"MellonUser renamed before":         {importMellon, mellon + "MellonSetEnv uid urn:x\nMellonUser UID", `"userName": "urn:x"`, ""},
		"MellonUser renamed later":          {importMellon, mellon + "MellonUser uid\nMellonSetEnvNoPrefix uid urn:x", `"userName": "urn:x"`, ""},
		"no end of idle sessions":           {importMellon, mellon + "MellonSessionIdleTimeout -1", "ended by their lifetime alone", "idle:"},
		"a chain of authorities":            {importMellon, mellon + "MellonIdPMetadataFile b.xml chain.pem", "chain.pem is a chain", ""},
		"metadata of our own":               {importMellon, mellon + "MellonSPMetadataFile sp.xml", "entity ID is that in sp.xml", ""},
		"the last MellonRequire":            {importMellon, mellon + "<Location /x>\nMellonRequire a b\nMellonRequire a c\n</Location>", `is: "c"`, `is: "b"`},
		"a header of another module":        {importMellon, mellon + "RequestHeader set X %{SSL_CLIENT_S_DN}s", "had SSL_CLIENT_S_DN, which is no attribute", `"X":`},
		"a header of the identity provider": {importMellon, mellon + "RequestHeader set X %{MELLON_IDP}e", "had the identity provider", `"X":`},
		"a header of the session":           {importMellon, mellon + "RequestHeader set X %{MELLON_SESSION}e", "which is no attribute", `"X":`},
		"MellonIdP":                         {importMellon, mellon + "MellonIdP who\nRequestHeader set X %{MELLON_who}e", "had the identity provider", `"X":`},
		"a header of one value":             {importMellon, mellon + "RequestHeader set X %{MELLON_mail_0}e", `"X": "mail"`, ""},
		"MellonEndpointPath":                {importMellon, mellon + "MellonEndpointPath /saml2/", `endpoint: "/saml2"`, ""},
		"MellonEndpointPath as usual":       {importMellon, mellon + "MellonEndpointPath /mellon/", "preset: mellon", "endpoint:"},
		"MellonEndpointPath of the site":    {importMellon, mellon + "MellonEndpointPath /", "began with /;", "endpoint:"},
		"handlerURL":                        {shibbolethDefaults(`<Sessions handlerURL="https://sp.example/sso/"/>`), "", `endpoint: "/sso"`, ""},
		"handlerURL of an override":         {shibbolethDefaults(`<Sessions lifetime="60"/><ApplicationOverride id="x"><Sessions handlerURL="/x/sso" lifetime="90"/></ApplicationOverride>`), "", "lifetime: 60s", "endpoint:"},
		"handlerURL as usual":               {shibbolethDefaults(`<Sessions handlerURL="/Shibboleth.sso"/>`), "", "preset: shibboleth", "endpoint:"},
		"MellonEnvPrefix":                   {importMellon, mellon + "MellonEnvPrefix OTHER_\nRequestHeader set X %{OTHER_mail}e", `"X": "mail"`, ""},
		"a file of saml-auth-proxy":         {importProxy, "SAML_PROXY_IDP_METADATA_URL=file:///etc/idp.xml\n", `file: "/etc/idp.xml"`, "file://"},
		"options with one dash":             {importProxy, "saml-auth-proxy -debug -idp-metadata-url https://idp.example/m -bind=:1 -backend-url http://b:1", `upstream: "http://b:1"`, ":8080"},
		"the defaults of saml-auth-proxy":   {importProxy, proxy, "lifetime: 2h", "sp.key"},
		"its address":                       {importProxy, proxy, `listen: ":8080"`, ""},
		"timeout 0":                         {shibbolethDefaults(`<Sessions timeout="0"/>`), "", "ended by their lifetime alone", "idle:"},
		"a second key":                      {shibbolethDefaults(`<CredentialResolver key="a" certificate="b"/><CredentialResolver key="c" certificate="d"/>`), "", "the key c", `"c"`},
		"the certificate of a filter":       {shibbolethDefaults(`<MetadataFilter><CredentialResolver certificate="f"/></MetadataFilter><CredentialResolver key="a" certificate="b"/>`), "", `cert_file: "b"`, `"f"`},
		"a prefix of attributes":            {shibbolethDefaults(`<SSO/></ApplicationDefaults><ApplicationDefaults attributePrefix="AJP_">`), "", "attributePrefix AJP_", ""},
		"metadata of one entity":            {shibbolethDefaults(`<SSO entityID="https://i.example/x"/><MetadataProvider type="MDQ" baseUrl="https://mdq.example/"/>`), "", `url: "https://mdq.example/entities/https%3A%2F%2Fi.example%2Fx"`, ""},
		"metadata of any entity":            {shibbolethDefaults(`<MetadataProvider type="MDQ" baseUrl="https://mdq.example/"/>`), "", "the metadata from https://mdq.example/", ""},
		"values without regard to case":     {shibbolethDefaults(""), "", "eppn was compared without regard to case", ""},
	} {
		m, err := c.read([]byte(c.data))
		if err != nil {
			t.Errorf("%s: %v", why, err)
			continue
		}
		text := m.yaml("x")
		if !strings.Contains(text, c.want) || c.mustMiss != "" && strings.Contains(text, c.mustMiss) {
			t.Errorf("%s: want %q and not %q in\n%s", why, c.want, c.mustMiss, text)
		}
	}
}

// shibbolethDefaults reads a configuration with something in <ApplicationDefaults>.
func shibbolethDefaults(inside string) func([]byte) (*imported, error) {
	return func([]byte) (*imported, error) {
		return importShibboleth([]byte(`<SPConfig><ApplicationDefaults REMOTE_USER="eppn"><MetadataProvider path="idp.xml"/>`+inside+`</ApplicationDefaults></SPConfig>`), "testdata/import", "")
	}
}

func readMellonCase(data []byte) (*imported, error) {
	const head = "ServerName a.example\nMellonIdPMetadataFile idp.xml\nMellonUser uid\nProxyPass / http://127.0.0.1:9000/\n"
	return importMellon(append([]byte(head), data...))
}

func readShibbolethCase(data []byte) (*imported, error) {
	return importShibboleth([]byte(`<SPConfig><RequestMapper><RequestMap>`+string(data)+`</RequestMap></RequestMapper>
		<ApplicationDefaults REMOTE_USER="eppn"><MetadataProvider path="idp.xml"/></ApplicationDefaults></SPConfig>`), "testdata/import", "")
}

func readProxyCase(data []byte) (*imported, error) {
	return importProxy(append([]byte("SAML_PROXY_IDP_METADATA_URL=file:///idp.xml\n"), data...))
}

const (
	signedIn = "{any_user: true}"
	byMail   = `{groups: ["a-example-mail"]}`
	byMailX  = `{groups: ["a-example-x-mail"]}`

	mellonMail = "<Location />\nMellonEnable auth\nMellonCond mail a@a.example\n</Location>\n"
	mellonAny  = "<Location />\nMellonEnable auth\nRequire valid-user\n</Location>\n"
)

// Configurations, and who may use the apps that are made of them.
var mellonCases = map[string][2]string{
	"anybody who is signed in":          {mellonAny, "/ " + signedIn},
	"a condition":                       {mellonMail, "/ " + byMail},
	"a condition of the place above":    {mellonMail + "<Location /x>\nMellonEnable auth\n</Location>", "/ " + byMail + "; /x " + byMail},
	"two conditions":                    {"<Location />\nMellonEnable auth\nMellonCond mail a@a.example\nMellonCond role x\n</Location>", "/ nobody"},
	"a condition with flags":            {"<Location />\nMellonEnable auth\nMellonCond mail a@a.example [NOT]\n</Location>", "/ nobody"},
	"a condition with a variable":       {"<Location />\nMellonEnable auth\nMellonCond mail %{HTTP_HOST}\n</Location>", "/ nobody"},
	"an expression":                     {"<LocationMatch ^/x>\nMellonEnable auth\n</LocationMatch>", "/ nobody"},
	"another module's rule":             {"<Location />\nMellonEnable auth\nRequire ldap-group cn=x\n</Location>", "/ nobody"},
	"inside of <IfModule>":              {"<Location />\n<IfModule mod_x.c>\nMellonEnable auth\n</IfModule>\nMellonCond mail a@a.example\n</Location>", "/ " + byMail},
	"inside of Mellon's <IfModule>":     {"<IfModule mod_auth_mellon.c>\n" + mellonMail + "</IfModule>", "/ " + byMail},
	"a condition that may not hold":     {mellonMail + "<Location /x>\n<IfDefine OPEN>\nMellonCond mail b@a.example\n</IfDefine>\n</Location>", "/ " + byMail + "; /x nobody"},
	"after another place":               {"<VirtualHost *:443>\nServerName a.example\n<Location /x>\nMellonEnable off\n</Location>\nMellonEnable auth\nRequire ip ::1\n</VirtualHost>", "/ nobody; /x nobody"},
	"a rule of the place above":         {"<Location />\nMellonEnable auth\nRequire ip 10.0.0.0/8\n</Location>\n<Location /x>\nMellonEnable auth\n</Location>", "/ nobody; /x nobody"},
	"a condition below":                 {mellonAny + "<Location /x>\nMellonCond mail a@a.example\n</Location>", "/ " + signedIn + "; /x " + byMailX},
	"a rule below":                      {mellonAny + "<Location /x>\nRequire ip ::1\n</Location>", "/ " + signedIn + "; /x nobody"},
	"a rule where nobody signs in":      {mellonAny + "<Location /x>\nMellonEnable off\nRequire ip ::1\n</Location>", "/ " + signedIn + "; /x nobody"},
	"a condition around the server's":   {"MellonCond mail a@a.example\n<VirtualHost *:443>\nServerName b.example\n<Location /x>\nMellonEnable auth\n</Location>\n</VirtualHost>", "/x " + byMail},
	"the closest of three":              {mellonMail + "<Location /x>\nMellonCond mail b@a.example\n</Location>\n<Location /x/y>\nMellonEnable auth\n</Location>", "/ " + byMail + "; /x " + byMailX + "; /x/y " + byMailX},
	"a place around comes later":        {"<Location /x>\nMellonCond mail b@a.example\n</Location>\n" + mellonMail, "/ " + byMail + "; /x nobody"},
	"a place for what is inside of it":  {mellonMail + "<Location /x/>\nMellonCond mail b@a.example\n</Location>", "/ " + byMail + "; /x nobody"},
	"one place twice":                   {"<Location />\nMellonEnable auth\n</Location>\n<Location />\nMellonCond mail a@a.example\n</Location>", "/ " + byMail},
	"a name after the place":            {"<VirtualHost *:443>\n" + mellonMail + "ServerName b.example\n</VirtualHost>\nMellonCond role x", "/ " + `{groups: ["main-mail"]}`},
	"a header of the place above":       {"RequestHeader set X-U %{MELLON_uid}e\n<Location />\nMellonEnable auth\nRequestHeader set x-u %{MELLON_mail}e\n</Location>", "/ " + signedIn},
	"an unknown MellonEnable":           {"<Location />\nMellonEnable ${MODE}\n</Location>", "/ nobody"},
	"<RequireAll>":                      {"<Location />\nMellonEnable auth\nMellonCond mail a@a.example\n<RequireAll>\nRequire valid-user\n</RequireAll>\n</Location>", "/ nobody"},
	"<RequireAny>":                      {mellonMail + "<Location /x>\n<RequireAny>\nRequire valid-user\n</RequireAny>\n</Location>", "/ " + byMail + "; /x nobody"},
	"<RequireNone>":                     {"<Location />\nMellonEnable auth\nMellonCond mail a@a.example\n<RequireNone>\nRequire all granted\n</RequireNone>\n</Location>", "/ nobody"},
	"<Limit>":                           {"<Location />\nMellonEnable auth\nMellonCond mail a@a.example\n<Limit POST>\nRequire valid-user\n</Limit>\n</Location>", "/ nobody"},
	"<LimitExcept>":                     {"<Location />\nMellonEnable auth\nMellonCond mail a@a.example\n<LimitExcept GET>\nRequire valid-user\n</LimitExcept>\n</Location>", "/ nobody"},
	"<LocationMatch> with a condition":  {mellonMail + "<LocationMatch ^/x>\nMellonCond mail a@a.example\n</LocationMatch>", "/ nobody"},
	"<LocationMatch> of something else": {mellonAny + "<LocationMatch ^/x>\nHeader set X y\n</LocationMatch>", "/ " + signedIn},
	"<Location ~>":                      {mellonMail + "<Location ~ ^/x>\nMellonCond mail a@a.example\n</Location>", "/ nobody"},
	"a wildcard":                        {mellonMail + "<Location /*/x>\nMellonCond mail a@a.example\n</Location>", "/ nobody"},
	"<Directory>":                       {mellonMail + "<Directory /var/www>\nRequire all denied\n</Directory>", "/ nobody"},
	"an open <Directory>":               {mellonAny + "<Directory /var/www>\nRequire all granted\n</Directory>", "/ " + signedIn},
	"<DirectoryMatch>":                  {mellonMail + "<DirectoryMatch /var>\nRequire ip ::1\n</DirectoryMatch>", "/ nobody"},
	"<Files>":                           {mellonMail + "<Files x>\nRequire ip ::1\n</Files>", "/ nobody"},
	"<Files> in a place":                {mellonMail + "<Location /x>\nMellonEnable auth\n<Files x>\nDeny from all\n</Files>\n</Location>", "/ nobody; /x nobody"},
	"<If>":                              {mellonMail + "<If true>\nMellonCond mail a@a.example\n</If>", "/ nobody"},
	"<Proxy>":                           {mellonMail + "<Proxy *>\nRequire ip ::1\n</Proxy>", "/ nobody"},
	"a host's expression":               {"<VirtualHost *:443>\nServerName b.example\n" + mellonMail + "<Files x>\nRequire ip ::1\n</Files>\n</VirtualHost>\n<VirtualHost *:443>\nServerName c.example\n" + mellonAny + "</VirtualHost>", "/ nobody; / " + signedIn},
	"Include":                           {mellonMail + "Include more.conf", "/ nobody"},
	"IncludeOptional of all":            {"IncludeOptional x/*.conf\n<VirtualHost *:443>\nServerName b.example\n" + mellonAny + "</VirtualHost>", "/ nobody"},
	"Use in a place":                    {mellonMail + "<Location /x>\nUse Team a\n</Location>", "/ nobody"},
	"Order and Deny":                    {"<Location />\nMellonEnable auth\nOrder deny,allow\nDeny from all\n</Location>", "/ nobody"},
	"Allow":                             {"<Location />\nMellonEnable auth\nAllow from 10.0.0.0/8\n</Location>", "/ nobody"},
	"Satisfy":                           {mellonAny + "<Location /x>\nSatisfy any\n</Location>", "/ " + signedIn + "; /x nobody"},
	"AuthMerging":                       {mellonAny + "<Location /x>\nAuthMerging And\n</Location>", "/ " + signedIn + "; /x nobody"},
	"another AuthType":                  {"<Location />\nMellonEnable auth\nAuthType Basic\nRequire valid-user\n</Location>", "/ nobody"},
	"certificates of visitors":          {"SSLVerifyClient require\n" + mellonMail, "/ nobody"},
	"RewriteRule that forbids":          {"RewriteRule ^/x - [F,L]\n" + mellonMail, "/ nobody"},
	"identity providers of hosts":       {"<VirtualHost *:443>\nServerName b.example\nMellonIdPMetadataFile b.xml\n" + mellonAny + "</VirtualHost>\n<VirtualHost *:443>\nServerName c.example\n" + mellonMail + "</VirtualHost>", "/ nobody; / nobody"},
	"one identity provider twice":       {"<VirtualHost *:443>\nServerName b.example\nMellonIdPMetadataFile idp.xml\n" + mellonAny + "</VirtualHost>", "/ " + signedIn},
	"an identity provider is ignored":   {"MellonIdPIgnore x\n" + mellonAny, "/ nobody"},
	"a condition of the NameID":         {"<Location />\nMellonEnable auth\nMellonCond NAME_ID x\n</Location>", "/ nobody"},
	"a condition of who signs in":       {"MellonIdP who\n<Location />\nMellonEnable auth\nMellonRequire who https://i.example\n</Location>", "/ nobody"},
	"two attributes of one name":        {"MellonSetEnv mail urn:x\n" + mellonMail, "/ nobody"},
	"two attributes that end alike":     {"<Location />\nMellonEnable auth\nMellonRequire urn:a:role x\n</Location>\n<Location /x>\nMellonRequire urn:b:role x\n</Location>", `/ {groups: ["a-example-attribute-role"]}; /x nobody`},
	"names of users by place":           {"<Location />\nMellonEnable auth\nMellonCond uid bob\n</Location>\n<Location /x>\nMellonUser mail\n</Location>", `/ {groups: ["a-example-uid"]}`},
	"names of attributes by place":      {"<Location />\nMellonEnable auth\nMellonSetEnv m mail\nMellonCond m a@a.example [MAP]\n</Location>\n<Location /x>\nMellonSetEnv n name\nMellonEnable auth\n</Location>", "/ nobody; /x nobody"},
}

const (
	shibHost  = `<Host name="a.example" requireSession="true">`
	shibMail  = `<AccessControl><Rule require="mail">a@a.example</Rule></AccessControl>`
	shibEppn  = `<AccessControl><OR><Rule require="user">bob</Rule><Rule require="eppn">ann</Rule></OR></AccessControl>`
	shibValid = `<AccessControl><Rule require="valid-user"/></AccessControl>`
)

var shibbolethCases = map[string][2]string{
	"anybody who is signed in":        {shibHost + shibValid + `</Host>`, "/ " + signedIn},
	"a rule":                          {shibHost + shibMail + `</Host>`, "/ " + byMail},
	"users and an attribute":          {shibHost + shibEppn + `</Host>`, `/ {groups: ["a-example-username", "a-example-eppn"]}`},
	"no rule":                         {shibHost + `</Host>`, "/ nobody"},
	"no place":                        {`<Host name="a.example"/>`, "/ nobody"},
	"an empty rule":                   {shibHost + `<AccessControl/></Host>`, "/ nobody"},
	"any value of an attribute":       {shibHost + `<AccessControl><Rule require="mail"/></AccessControl></Host>`, "/ nobody"},
	"an unknown attribute":            {shibHost + `<AccessControl><Rule require="authnContextClassRef">x</Rule></AccessControl></Host>`, "/ nobody"},
	"two rules":                       {shibHost + `<AccessControl><Rule require="mail">a</Rule><Rule require="eppn">b</Rule></AccessControl></Host>`, "/ nobody"},
	"all of rules":                    {shibHost + `<AccessControl><OR><Rule require="mail">a</Rule><AND><Rule require="eppn">b</Rule></AND></OR></AccessControl></Host>`, "/ nobody"},
	"a rule of the host":              {shibHost + shibMail + `<Path name="x" requireSession="true"/></Host>`, "/ " + byMail + "; /x " + byMail},
	"a session of the host":           {shibHost + shibValid + `<Path name="x">` + shibMail + `</Path></Host>`, "/ " + signedIn + "; /x " + byMailX},
	"a rule of all hosts":             {shibMail + `<Host name="a.example" requireSession="true"/>`, `/ {groups: ["app-mail"]}`},
	"paths in paths":                  {`<Host name="a.example"><Path name="x" requireSession="true">` + shibMail + `<Path name="y"/></Path></Host>`, "/x " + byMailX + "; /x/y " + byMailX},
	"a rule without a session":        {shibHost + shibValid + `<Path name="x" requireSession="false">` + shibMail + `</Path></Host>`, "/ " + signedIn + "; /x " + byMailX},
	"a clear rule below an odd one":   {shibHost + `<AccessControl><NOT><Rule require="mail">a</Rule></NOT></AccessControl><Path name="x">` + shibMail + `</Path></Host>`, "/ nobody; /x " + byMailX},
	"htaccess":                        {shibHost + shibValid + `<Path name="x"><htaccess/></Path></Host>`, "/ " + signedIn + "; /x nobody"},
	"AccessControlProvider":           {shibHost + `<AccessControlProvider type="XML" path="x"/></Host>`, "/ nobody"},
	"PathRegex":                       {shibHost + shibValid + `<Path name="x"><PathRegex regex="y">` + shibMail + `</PathRegex></Path></Host>`, "/ nobody; /x nobody"},
	"HostRegex":                       {shibHost + shibValid + `</Host><HostRegex regex=".*"/>`, "/ nobody"},
	"an unknown element":              {shibHost + shibValid + `<Query name="x"/></Host>`, "/ nobody"},
	"an unknown element of all hosts": {`<Path name="x"/>` + shibHost + shibValid + `</Host>`, "/ nobody"},
	"an unknown requireSession":       {`<Host name="a.example" requireSession="maybe">` + shibValid + `</Host>`, "/ nobody"},
	"another application":             {shibHost + shibValid + `<Path name="x" applicationId="other"/></Host>`, "/ " + signedIn + "; /x nobody"},
	"two paths that begin alike":      {shibHost + shibMail + `<Path name="x/y">` + shibMail + `</Path><Path name="x">` + shibValid + `</Path></Host>`, "/ " + byMail + `; /x/y {groups: ["a-example-x-y-mail"]}; /x nobody`},
	"another application's provider":  {shibHost + shibValid + `</Host></RequestMap></RequestMapper><ApplicationOverride id="o"><MetadataProvider path="o.xml"/></ApplicationOverride><RequestMapper><RequestMap>`, "/ nobody"},
}

var proxyCases = map[string][2]string{
	"no rule":                   {"", "/ " + signedIn},
	"a rule":                    {"SAML_PROXY_AUTHORIZE_ATTRIBUTE=role\nSAML_PROXY_AUTHORIZE_VALUES=a,b\n", "/ " + authorized},
	"a list of Docker Compose":  {"  - SAML_PROXY_AUTHORIZE_ATTRIBUTE=role\n  - \"SAML_PROXY_AUTHORIZE_VALUES=a,b\"\n", "/ " + authorized},
	"a map of Docker Compose":   {"  SAML_PROXY_AUTHORIZE_ATTRIBUTE: role # which\n  \"SAML_PROXY_AUTHORIZE_VALUES\": 'a,b'\n", "/ " + authorized},
	"a command":                 {"docker run -e SAML_PROXY_AUTHORIZE_ATTRIBUTE=role --env SAML_PROXY_BIND=:1 --env 'SAML_PROXY_AUTHORIZE_VALUES=a,b' x\n", "/ " + authorized},
	"a shell, in small letters": {"export saml_proxy_authorize_attribute=\"role\"\nexport saml_proxy_authorize_values=a,b\n", "/ " + authorized},
	"no values":                 {"SAML_PROXY_AUTHORIZE_ATTRIBUTE=role\n", "/ nobody"},
	"empty values":              {"SAML_PROXY_AUTHORIZE_ATTRIBUTE=role\nSAML_PROXY_AUTHORIZE_VALUES=\n", "/ nobody"},
	"no attribute":              {"SAML_PROXY_AUTHORIZE_VALUES=a\n", "/ nobody"},
	"of Kubernetes":             {"- name: SAML_PROXY_AUTHORIZE_ATTRIBUTE\n  value: role\n", "/ nobody"},
	"in another way":            {"proxy:\n  Authorize: {role: [a]}\n", "/ nobody"},
	"two proxies":               {"SAML_PROXY_BACKEND_URL=http://a\nSAML_PROXY_BACKEND_URL=http://b\n", "/ nobody"},
	"two attributes":            {"SAML_PROXY_ATTRIBUTE_HEADER_MAPPINGS=urn:a:role=X-Role\nSAML_PROXY_AUTHORIZE_ATTRIBUTE=urn:b:role\nSAML_PROXY_AUTHORIZE_VALUES=a\n", "/ nobody"},
}

const authorized = `{groups: ["authorized"]}`
