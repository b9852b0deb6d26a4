package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// apacheConfig sets Apache up with mod_auth_mellon as Debian packages them, with
// an access log and the headers that make it the like of jitgate.
//
// As Debian has it, but for the threads: with fewer it would end processes, and the
// connections that they have, whenever it has little to do.
const apacheConfig = `ServerRoot %[1]s
DefaultRuntimeDir %[1]s
PidFile %[1]s/pid
Listen 127.0.0.1:%[2]d
ServerName localhost:%[2]d
ErrorLog %[1]s/error.log
LogLevel warn
%[3]s
User %[4]s
Group %[4]s
StartServers 16
MinSpareThreads 25
MaxSpareThreads 400
ThreadLimit 64
ThreadsPerChild 25
MaxRequestWorkers 400
KeepAlive On
MaxKeepAliveRequests 0
LogFormat "%%h %%l %%u %%t \"%%r\" %%>s %%O \"%%{Referer}i\" \"%%{User-Agent}i\"" combined
CustomLog %[1]s/access.log combined
<Location />
	Require valid-user
	AuthType Mellon
	MellonEnable auth
	MellonEndpointPath /mellon
	MellonUser userName
	MellonSPMetadataFile %[1]s/sp.xml
	MellonSPPrivateKeyFile %[5]s/sp.key
	MellonSPCertFile %[5]s/sp.crt
	MellonIdPMetadataFile %[5]s/idp.xml
	MellonMergeEnvVars On ","
	RequestHeader set X-Forwarded-User "%%{MELLON_userName}e"
	RequestHeader set X-Forwarded-Email "%%{MELLON_email}e"
	RequestHeader set X-Forwarded-Groups "%%{MELLON_groups}e"
</Location>
ProxyPass /mellon !
ProxyPass / http://%[6]s/
`

// apacheMetadata is what it needs to know of itself. It could make that up, and
// its threads then do so at once, and get in each other's way.
const apacheMetadata = `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="http://localhost:%[1]d/mellon">
<SPSSODescriptor AuthnRequestsSigned="true" protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
<KeyDescriptor><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>%[2]s</X509Certificate></X509Data></KeyInfo></KeyDescriptor>
<AssertionConsumerService index="0" isDefault="true" Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="http://localhost:%[1]d/mellon/postResponse"/>
</SPSSODescriptor>
</EntityDescriptor>
`

// apacheModules are those that it takes.
var apacheModules = strings.Fields("mpm_event authn_core authz_core authz_user auth_mellon headers proxy proxy_http")

// startApache starts Apache as a candidate, with further variables in its
// environment.
func (s *stage) startApache(ctx context.Context, env ...string) (*process, error) {
	var modules strings.Builder
	for _, name := range apacheModules {
		fmt.Fprintf(&modules, "LoadModule %[1]s_module /usr/lib/apache2/modules/mod_%[1]s.so\n", name)
	}
	user := "www-data"
	if os.Getuid() != 0 {
		user = fmt.Sprintf("#%d", os.Getuid())
	}
	return s.start(ctx, func(port int) (*exec.Cmd, error) {
		dir := filepath.Join(s.dir, fmt.Sprintf("apache-%d", port))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
		certificate := base64.StdEncoding.EncodeToString(s.certificate.Raw)
		if err := os.WriteFile(filepath.Join(dir, "sp.xml"), fmt.Appendf(nil, apacheMetadata, port, certificate), 0o644); err != nil {
			return nil, err
		}
		text := fmt.Sprintf(apacheConfig, dir, port, modules.String(), user, s.dir, s.upstream.addr)
		file, err := s.write(fmt.Sprintf("apache-%d.conf", port), text)
		cmd := exec.Command("apache2", "-f", file, "-DFOREGROUND")
		cmd.Env = append(cmd.Environ(), env...)
		return cmd, err
	})
}

// withoutBundle has OpenSSL find no certificates of authorities: mod_auth_mellon
// makes it read all that the system trusts at each login, for nothing, since what
// it believes is in the metadata.
func (s *stage) withoutBundle() ([]string, error) {
	dir := filepath.Join(s.dir, "no-certificates")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return []string{"SSL_CERT_FILE=" + filepath.Join(dir, "none.pem"), "SSL_CERT_DIR=" + dir}, nil
}

// apacheLogin says how one signs in there.
func apacheLogin(p *process) loginAt {
	at := "http://" + localhost(p) + "/mellon"
	return loginAt{start: at + "/login?ReturnTo=http%3A%2F%2F" + localhost(p) + "%2F", acs: at + "/postResponse", entityID: at}
}
