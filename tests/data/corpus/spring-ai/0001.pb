
¶
Ž
 
service.name
spring-support
 
telemetry.sdk.language
java
%
telemetry.sdk.name
opentelemetry
!
telemetry.sdk.version
1.49.0#
!
org.springframework.boot3.5.7