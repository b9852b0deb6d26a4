package samlsp

import "strings"

// Cure says of a check, by the name that a [Refusal] has, what it means that it
// failed, and what to change and where. Both are one sentence, for those who run
// the gateway. Of a name that is none of ours both are empty.
func Cure(check string) (meaning, cure string) {
	for _, r := range remedies() {
		if r.check == check {
			return r.meaning, r.cure
		}
	}
	return "", ""
}

// A remedy is one entry of cures.
type remedy struct {
	check, meaning, cure string
}

// remedies returns what cures says, in its order: that of checks.go, in which a
// response meets the checks.
func remedies() []remedy {
	var list []remedy
	for entry := range strings.SplitSeq(strings.TrimSpace(cures), "\n\n") {
		lines := strings.Split(entry, "\n")
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		list = append(list, remedy{check: lines[0], meaning: lines[1], cure: strings.Join(lines[2:], " ")})
	}
	return list
}

// cures has for each check its name, a line that says what was wrong, and the
// cure, in as many lines as it needs.
const cures = `
unsolicited
    The response answers no request: the sign-in began at the identity provider and not here.
    Begin at the app's own address; or set idp_initiated of this identity provider in jitgate.yaml to restart, the default,
    which begins a sign-in here whenever such a response comes, or to accept, which takes it as it is.

too_large
    The response is longer than 512 KiB in base64.
    Have the identity provider send fewer groups and attributes: those alone that jitgate.yaml names for it.

encoding
    What came as SAMLResponse is not base64 as the standards have it.
    Look for what changes it on the way, such as a proxy or a script in between; where it leaves the identity provider like
    that, its vendor has to mend it.

xml
    The message is not well-formed XML in UTF-8, or it has a DOCTYPE, a comment or a processing instruction.
    Switch off at the identity provider what adds such things to its messages; a captured message may also have been cut
    off or edited, so capture it again.

limits
    The message has more elements, levels or attributes than are read.
    Have the identity provider send fewer groups and attributes: those alone that jitgate.yaml names for it.

namespace
    A namespace prefix is not declared or stands for two namespaces, or a namespace has a name that is no absolute URI.
    Have the identity provider send attribute values as plain text, without XML of their own; where they are plain already,
    its vendor has to mend how it declares namespaces.

structure
    An element, an attribute or a text is where a sign-in response has no place for it, or is missing, or is there twice.
    Set the application up at the identity provider for plain web browser single sign-on: one assertion, with a NameID, one
    bearer SubjectConfirmation and Conditions, and no extensions.

id
    An ID is not an XML name, or two elements have the same.
    There is no setting for this: where the identity provider's own message is like that, its vendor has to mend it, and where
    it is not, somebody has changed it on the way.

reference
    A signature is over another element than the one that it stands in.
    Set the identity provider to sign the Response or the Assertion in the usual, enveloped way; where it does that, somebody
    has changed the message on the way to be let in.

algorithm
    A signature uses an algorithm that is not accepted, such as SHA-1.
    Set the identity provider to sign for this application with RSA-SHA256 or ECDSA-SHA256, the digest SHA-256 and exclusive
    canonicalization.

unsigned
    Neither the Response nor the Assertion is signed.
    Switch on for this application at the identity provider that it signs assertions.

signature
    A signature does not verify with any certificate of the identity provider's metadata.
    Load its current metadata (identity_providers[].metadata in jitgate.yaml), since it may sign with a new key by now, and
    make sure that it is the metadata of this identity provider, tenant and application.

certificate_expired
    All signing certificates of the identity provider's metadata are expired, or not valid yet.
    Renew the signing certificate at the identity provider and load its new metadata (identity_providers[].metadata in
    jitgate.yaml), and see that the clock of this machine is right.

encryption
    The assertion is encrypted in a way that is not accepted from this identity provider.
    Set the identity provider to sign the Response and to encrypt with AES-GCM and RSA-OAEP, or not to encrypt; or accept what
    it does in jitgate.yaml, with encryption: {allow: [...]} at this identity provider.

decryption
    The assertion could not be decrypted, or it did not come from the identity provider.
    Import our metadata at the identity provider again (jitgate metadata prints it), so that it encrypts for the certificate
    of saml.cert_file in jitgate.yaml, and see that saml.key_file is the key of that.

status
    The identity provider itself says that the sign-in did not succeed.
    Look for this sign-in in the identity provider's own log: most often the user is not assigned to this application, or
    the sign-in was given up.

wrong_version
    The Response or the Assertion is not of SAML 2.0.
    Set the application up at the identity provider as one of SAML 2.0, and not of SAML 1.1 or WS-Federation.

wrong_destination
    The Response was made for another address than our assertion consumer service.
    Set the assertion consumer service (also called ACS URL, reply URL or single sign-on URL) at the identity provider to
    exactly what is wanted here; where that is not our address, correct base_url in jitgate.yaml.

wrong_issuer
    The issuer is not the one whose metadata is loaded.
    Load the metadata of the identity provider that has sent this (identity_providers[].metadata in jitgate.yaml), or set the
    entity ID at the identity provider to the one that its metadata has.

wrong_request
    The response answers another request than the one that this browser began, or none.
    Sign in again from the app's own address, without the back button; where it happens each time, the identity provider has to
    send InResponseTo in the Response and in SubjectConfirmationData alike.

wrong_issue_instant
    The Response or the Assertion was issued in the future, or too long ago.
    Set the clocks of this machine and of the identity provider by NTP; a message that was captured earlier is to be judged as
    of then.

wrong_assertion_id
    The ID of the Assertion is too short to be the only one of its kind, or not a name.
    There is no setting for this: the vendor of the identity provider has to make IDs of 16 to 256 characters.

wrong_name_id
    The NameID is empty, too long, or has control characters in it, so that it names nobody; or the SessionIndex is too long.
    Set the NameID of this application at the identity provider to an attribute that each user has, such as the user name.

wrong_confirmation
    The Assertion is not for whoever brings it, by the bearer method, or that comes with a NotBefore.
    Set the application up at the identity provider for web browser single sign-on, where the confirmation method is bearer.

wrong_recipient
    The Assertion was made for another address than our assertion consumer service.
    Set the assertion consumer service (also called ACS URL, recipient URL or reply URL) at the identity provider to exactly what
    is wanted here; where that is not our address, correct base_url in jitgate.yaml.

expired
    The Assertion was too old when it came, or does not say how long it is good.
    Set the clocks of this machine and of the identity provider by NTP, and the assertion's lifetime at the identity provider to
    five minutes or so; a message that was captured earlier is to be judged as of then.

not_yet_valid
    The Assertion is not valid yet.
    Set the clocks of this machine and of the identity provider by NTP.

wrong_lifetime
    The Assertion claims to be good for more than a day, or ends before it begins.
    Set the lifetime of assertions for this application at the identity provider, which is not that of its sessions, to five
    minutes or so.

wrong_audience
    The Assertion is for another service: no AudienceRestriction, or one that does not name us.
    Set the audience of this application at the identity provider (also called entity ID or identifier) to exactly what is
    wanted here, or saml.entity_id in jitgate.yaml to what the identity provider sends.

no_authn_statement
    The Assertion does not say that anybody signed in.
    Set the application up at the identity provider for web browser single sign-on, where each assertion has an AuthnStatement.

wrong_authn_instant
    The user signed in at the identity provider in the future.
    Set the clocks of this machine and of the identity provider by NTP.

session_expired
    The session at the identity provider is over already.
    Have the user sign out at the identity provider and sign in again; where it happens each time, make its sessions for this
    application longer, and set the clocks by NTP.

library
    The library crewjam/saml, whose opinion counts too, refuses what all other checks accept.
    Read what was found: that is its reason; none of the settings in jitgate.yaml changes it, so please report it as a defect.

wrong_attribute
    An attribute has no Name.
    Give each attribute a name where the identity provider maps them for this application: a FriendlyName is not enough.

panic
    A library broke down over the message.
    There is no setting for this: please report it as a defect, and the message in private.

replayed_request
    The request was answered before.
    Sign in again from the app's own address, without reloading the page or the back button; where it happens each time,
    something posts each response twice.

replayed_assertion
    The Assertion was used before.
    Sign in again from the app's own address, without reloading the page or the back button; where it happens each time,
    something posts each response twice.
`
