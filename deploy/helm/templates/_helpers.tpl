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
{{- if and $v.ingress.enabled (regexMatch "^(\\[.*|[0-9.]+)$" (include "jitgate.host" $v.config.base_url)) }}
{{- fail (printf "ingress: %q has an address for a host, which no ingress can have; write a name" $v.config.base_url) }}
{{- end }}
{{- range $v.sidecarOf }}
{{- if and $v.autoscaling.enabled (not (dig "resources" "requests" "cpu" "" .)) }}
{{- fail (printf "sidecarOf: %s has no resources.requests.cpu, without which nothing is scaled; write it, or autoscaling.enabled: false" .name) }}
{{- end }}
{{- end }}
{{- $protected := list }}
{{- range $v.protect }}{{ $protected = append $protected (printf "%s/%s" .namespace .name) }}{{ end }}
{{- if ne (len $protected) (len (uniq $protected)) }}
{{- fail (printf "protect: %s: one name comes twice in a namespace" (join ", " $protected)) }}
{{- end }}
{{- end }}
