{{- define "jitgate.name" -}}
{{- /* A service's name has no dots, and begins with a letter. */}}
{{- $name := .Release.Name | replace "." "-" }}
{{- if not (contains "jitgate" $name) }}{{ $name = printf "%s-jitgate" $name }}{{ end }}
{{- if regexMatch "^[0-9]" $name }}{{ $name = printf "jitgate-%s" $name }}{{ end }}
{{- $name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "jitgate.image" -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "jitgate.selector" -}}
app.kubernetes.io/name: jitgate
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "jitgate.labels" -}}
{{ include "jitgate.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "jitgate.port" -}}
{{ regexFind "[0-9]+$" . | int }}
{{- end }}

{{- /* What jitgate listens at, with spaces between. */}}
{{- define "jitgate.ports" -}}
{{- with .Values.config }}
{{- include "jitgate.port" .listen }} {{ include "jitgate.port" .admin.listen }}{{ with .ext_authz }} {{ include "jitgate.port" .listen }}{{ end }}
{{- end }}
{{- end }}

{{- define "jitgate.host" -}}
{{ get (urlParse .) "host" | regexFind "^(\\[.*\\]|[^:]+)" | lower }}
{{- end }}

{{- /* How long a pod may take to end: drain, and requests under way get 30 s. */}}
{{- define "jitgate.grace" -}}
{{- $now := now }}
{{- sub (unixEpoch (dateModify (.Values.config.drain | default "0s" | toString) $now)) (unixEpoch $now) | add 40 }}
{{- end }}

{{- /* What the schema cannot see. */}}
{{- define "jitgate.check" -}}
{{- $v := .Values }}{{ $least := $v.autoscaling.enabled | ternary $v.autoscaling.min $v.replicas | int }}{{ $keep := $v.disruptionBudget.minAvailable }}
{{- if and $v.autoscaling.enabled (lt (int $v.autoscaling.max) $least) }}
{{- fail (printf "autoscaling.max: %v is less than min, which is %d" $v.autoscaling.max $least) }}
{{- end }}
{{- if and $v.disruptionBudget.enabled (kindIs "string" $keep | ternary (eq (toString $keep) "100%") (ge (int $keep) $least)) }}
{{- fail (printf "disruptionBudget.minAvailable: %v of %d pods, which no node could be drained of; write less, or more pods, or enabled: false" $keep $least) }}
{{- end }}
{{- $hosts := list (include "jitgate.host" $v.config.base_url) }}
{{- range $v.config.apps }}{{ with .host }}{{ $hosts = append $hosts . }}{{ end }}{{ end }}
{{- range $hosts }}
{{- if and $v.ingress.enabled (regexMatch "^([0-9.]+|.*:.*)$" .) }}
{{- fail (printf "ingress: the host %q is an address, which no ingress can have; write a name" .) }}
{{- end }}
{{- end }}
{{- $ports := splitList " " (include "jitgate.ports" .) }}
{{- if ne (len $ports) (len (uniq $ports)) }}
{{- fail (printf "config: listen, admin.listen and ext_authz.listen have the ports %s; write one of its own for each" (join ", " $ports)) }}
{{- end }}
{{- if and $v.config.ext_authz (eq (toString $v.service.port) (last $ports)) }}
{{- fail (printf "service.port: %v is that of ext_authz.listen, which the service has too; write another" $v.service.port) }}
{{- end }}
{{- include "jitgate.checkPod" . }}
{{- $protected := list }}
{{- range $v.protect }}{{ $protected = append $protected (printf "%s/%s" .namespace .name) }}{{ end }}
{{- if ne (len $protected) (len (uniq $protected)) }}
{{- fail (printf "protect: %s: one name comes twice in a namespace" (join ", " $protected)) }}
{{- end }}
{{- end }}

{{- /* What a cluster would refuse in the pod, and what would not work there. */}}
{{- define "jitgate.checkPod" -}}
{{- $v := .Values }}
{{- $app := concat ($v.sidecarOf | default list) ($v.initContainers | default list) }}
{{- $volumes := list "config" "keys" "run" }}{{ $mounts := list "/etc/jitgate" "/etc/jitgate-keys" "/run/jitgate" }}
{{- if $v.sidecarOf }}{{ $volumes = append $volumes "app" }}{{ $mounts = append $mounts "/run/app" }}{{ end }}
{{- range $v.volumes }}{{ $volumes = append $volumes .name }}{{ end }}
{{- if ne (len $volumes) (len (uniq $volumes)) }}
{{- fail (printf "volumes: %s: one name comes twice" (join ", " $volumes)) }}
{{- end }}
{{- $names := list "jitgate" }}
{{- range $app }}{{ $names = append $names .name }}{{ end }}
{{- if ne (len $names) (len (uniq $names)) }}
{{- fail (printf "sidecarOf: %s: one name of a container comes twice" (join ", " $names)) }}
{{- end }}
{{- range prepend $app (dict "name" "jitgate" "volumeMounts" $v.volumeMounts) }}
{{- $name := .name }}{{ $at := eq $name "jitgate" | ternary $mounts list }}
{{- range .volumeMounts }}
{{- if not (has .name $volumes) }}
{{- fail (printf "volumeMounts of %s: there is no volume %q; write it in volumes" $name .name) }}
{{- end }}
{{- $path := trimSuffix "/" .mountPath }}
{{- if has $path $at }}
{{- fail (printf "volumeMounts of %s: there are two at %q" $name .mountPath) }}
{{- end }}
{{- $at = append $at $path }}
{{- end }}
{{- end }}
{{- $ports := splitList " " (include "jitgate.ports" .) }}
{{- range $app }}
{{- $name := .name }}
{{- range .ports }}
{{- /* Of what has a port's name, the network policy lets visitors reach every one. */}}
{{- if or (has .name (list "http" "admin" "ext-authz")) (has (toString .containerPort) $ports) }}
{{- fail (printf "sidecarOf: %s has the port %v, called %q, and jitgate has that number or name in the pod; write another" $name .containerPort (.name | default "")) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $v.sidecarOf }}
{{- $resources := .resources | default dict }}
{{- if and $v.autoscaling.enabled (not (or ($resources.requests | default dict).cpu ($resources.limits | default dict).cpu)) }}
{{- fail (printf "sidecarOf: %s has no resources.requests.cpu, without which nothing is scaled; write it, or autoscaling.enabled: false" .name) }}
{{- end }}
{{- end }}
{{- end }}
