<?php
// The service providers' own metadata. What this identity provider signs and
// encrypts is its own choice, though, whatever they want.
foreach (glob(dirname(__DIR__) . '/sp/*.xml') as $file) {
    $entities = SimpleSAML\Metadata\SAMLParser::parseDescriptorsString(file_get_contents($file));
    foreach ($entities as $id => $entity) {
        $sp = $entity->getMetadata20SP();
        if ($sp !== null) {
            unset($sp['saml20.sign.assertion'], $sp['NameIDFormat'], $sp['entityDescriptor']);
            $metadata[$id] = $sp;
        }
    }
}
