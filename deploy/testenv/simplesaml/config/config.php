<?php
// SimpleSAMLphp's own configuration: an identity provider on a loopback port
// that keeps everything below one directory.
$dir = dirname(__DIR__);
$settings = require "$dir/settings.php";
$config = [
    'baseurlpath' => $settings['url'],
    'certdir' => "$dir/cert",
    'datadir' => "$dir/data",
    'loggingdir' => "$dir/log",
    'metadatadir' => "$dir/metadata",
    'tempdir' => "$dir/tmp",
    'secretsalt' => $settings['secret'],
    'auth.adminpassword' => $settings['secret'],
    'technicalcontact_email' => 'nobody@example.com',
    'timezone' => 'UTC',
    'enable.saml20-idp' => true,
    'module.enable' => ['core' => true, 'exampleauth' => true, 'saml' => true],
    'metadata.sources' => [['type' => 'flatfile']],
    'store.type' => 'phpsession',
    'session.duration' => $settings['session'],
    // Cookies do not tell ports apart, and every identity provider has this host.
    'session.phpsession.cookiename' => 'SSP' . parse_url($settings['url'], PHP_URL_PORT),
    'session.authtoken.cookiename' => 'SSPToken' . parse_url($settings['url'], PHP_URL_PORT),
    'session.phpsession.savepath' => "$dir/sessions",
    'session.cookie.secure' => false,
    'session.cookie.samesite' => null,
    'language.parameter.setcookie' => false,
    'logging.handler' => 'file',
    'logging.level' => SimpleSAML\Logger::INFO,
    'showerrors' => true,
    'errorreporting' => false,
    'errors.show_function' => ['PlainError', 'show'],
];
