<?php
// Read at each login, so that a changed user needs no restart.
$users = json_decode(file_get_contents(dirname(__DIR__) . '/users.json'), true, 512, JSON_THROW_ON_ERROR);
$config = ['users' => ['exampleauth:UserPass']];
foreach ($users as $name => $user) {
    // The NameID is made of the login name, which itself is not sent.
    $config['users']["$name:{$user['password']}"] = ($user['attributes'] ?? []) + ['loginName' => [(string) $name]];
}
