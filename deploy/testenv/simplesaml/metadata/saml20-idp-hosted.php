<?php
$settings = require dirname(__DIR__) . '/settings.php';
$metadata[$settings['entityid']] = $settings['idp'];
if (is_file(dirname(__DIR__) . '/cert/new_idp.crt')) {
    $metadata[$settings['entityid']] += ['new_privatekey' => 'new_idp.key', 'new_certificate' => 'new_idp.crt'];
}
