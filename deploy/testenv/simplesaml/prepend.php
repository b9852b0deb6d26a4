<?php
// Runs before each page.

// An error is plain text and has an error's status; SimpleSAMLphp's own page is
// served with status 200.
class PlainError
{
    public static function show($config, array $data): void
    {
        header('Content-Type: text/plain; charset=utf-8');
        echo "{$data['errorCode']}\n{$data['error']['exceptionMsg']}\n{$data['error']['exceptionTrace']}\n";
        exit;
    }
}

// SimpleSAMLphp 1.19 encrypts with AES-128-CBC and nothing
// else, though its library knows more: put the wanted cipher in that place.
(static function (): void {
    $cipher = (require __DIR__ . '/settings.php')['cipher'];
    if ($cipher === '') {
        return;
    }
    $root = '/usr/share/simplesamlphp';
    require_once "$root/lib/_autoload.php";
    spl_autoload_register(static function (string $class) use ($cipher, $root): void {
        if ($class !== 'SAML2\EncryptedAssertion') {
            return;
        }
        $code = file_get_contents("$root/vendor/simplesamlphp/saml2/src/SAML2/EncryptedAssertion.php");
        $code = str_replace('XMLSecurityKey(XMLSecurityKey::AES128_CBC)', "XMLSecurityKey('$cipher')", $code, $places);
        if ($places !== 1) {
            throw new Exception('this release of SimpleSAMLphp encrypts in another way');
        }
        eval(substr($code, strlen('<?php')));
    }, true, true);
})();
