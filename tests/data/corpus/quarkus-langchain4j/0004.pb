
∞
è
!
service.name
quarkus-support
 
telemetry.sdk.language
java
%
telemetry.sdk.name
opentelemetry
!
telemetry.sdk.version
1.57.0

io.quarkus.opentelemetry