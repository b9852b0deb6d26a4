package samlsp

// The names of the checks, as [Refusal.Check] has them. They are stable, since
// people search logs for them. In the order in which a response meets
// them.
const (
	// Before anything is read.
	checkUnsolicited = "unsolicited" // answers no request, where that is not allowed

	// The envelope, before any XML is read.
	checkTooLarge = "too_large" // the base64 text is longer than 512 KiB
	checkEncoding = "encoding"  // not strict base64, in one piece or in even lines

	// The preflight.
	checkXML       = "xml"       // not well-formed, not UTF-8, or with a DOCTYPE, comment or instruction
	checkLimits    = "limits"    // too deep, or too many elements or attributes
	checkNamespace = "namespace" // a prefix undeclared or of two meanings, or an odd namespace name
	checkStructure = "structure" // an element, attribute or text that the schema has no place for, or one missing
	checkID        = "id"        // an ID that is no name, or is there twice
	checkReference = "reference" // a signature that is not over the element it is in
	checkAlgorithm = "algorithm" // a signature, digest or transform that is not allowed

	// Signatures and encryption.
	checkUnsigned           = "unsigned"            // neither Response nor Assertion is signed
	checkSignature          = "signature"           // a signature that no certificate of the metadata verifies
	checkCertificateExpired = "certificate_expired" // all certificates of the metadata are out of their time
	checkEncryption         = "encryption"          // encrypted in a way that is not allowed for this IdP
	checkDecryption         = "decryption"          // whatever went wrong in decrypting: one name for all

	// The IdP's own refusal; the code is then idp_refused.
	checkStatus = "status"

	// What the message says.
	checkVersion           = "wrong_version"       // not 2.0
	checkDestination       = "wrong_destination"   // Destination missing, or not our ACS
	checkIssuer            = "wrong_issuer"        // Issuer missing, or not the entity ID of the IdP
	checkInResponseTo      = "wrong_request"       // answers another request, or none
	checkIssueInstant      = "wrong_issue_instant" // issued in the future, or too long ago
	checkAssertionID       = "wrong_assertion_id"  // the Assertion's ID is no name of 16 to 256 characters
	checkNameID            = "wrong_name_id"       // an empty NameID, one of more than 1 KiB, or with control characters; or a SessionIndex of more than 1 KiB
	checkConfirmation      = "wrong_confirmation"  // the SubjectConfirmation is not a bearer one, or has NotBefore
	checkRecipient         = "wrong_recipient"     // Recipient is not our ACS
	checkExpired           = "expired"             // past NotOnOrAfter, or none given
	checkNotYetValid       = "not_yet_valid"       // before NotBefore
	checkLifetime          = "wrong_lifetime"      // valid for more than a day, or ends before it begins
	checkAudience          = "wrong_audience"      // no AudienceRestriction, or one without us
	checkAuthnStatement    = "no_authn_statement"  // nothing says that the subject signed in
	checkAuthnInstant      = "wrong_authn_instant" // signed in in the future
	checkSessionExpired    = "session_expired"     // SessionNotOnOrAfter is past
	checkLibrary           = "library"             // crewjam/saml refuses what all of the above let pass
	checkAttribute         = "wrong_attribute"     // an Attribute without a Name
	checkPanic             = "panic"               // a library panicked
	checkReplayedRequest   = "replayed_request"    // the request was answered already; code saml_replayed
	checkReplayedAssertion = "replayed_assertion"  // the assertion was used already; code saml_replayed
)
