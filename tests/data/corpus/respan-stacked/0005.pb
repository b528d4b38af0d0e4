
 	


service.name
x†	ƒ	
44Ş4dB×ªãxVh¶rêÆÉEb"Th¦[
s*llm.gpt-4o-mini09%©¿Î@íAƒì
ÏÎ@íJ&
traceloop.entity.name
openai.chatJ&
traceloop.entity.path
openai.chatJ
gen_ai.system
openaiJ
llm.request.type
chatJ
gen_ai.is_streamingJ 
respan.entity.log_type
chatJU
traceloop.entity.input;
9[{"content":"CANARY What is the weather?","role":"user"}]J
gen_ai.prompt.0.role
userJ8
gen_ai.prompt.0.content
CANARY What is the weather?J%
gen_ai.request.model
gpt-4o-miniJ1
gen_ai.response.model
gpt-4o-mini-2024-07-18J+
gen_ai.response.id
chatcmpl-openai0004Jj
traceloop.entity.outputO
M{"content":"It is sunny in Paris, says answer number 4. ","role":"assistant"}J'
gen_ai.completion.0.role
	assistantJM
gen_ai.completion.0.content.
,It is sunny in Paris, says answer number 4. J 
gen_ai.usage.input_tokensü
J!
gen_ai.usage.prompt_tokensü
J 
gen_ai.usage.output_tokens^J$
gen_ai.usage.completion_tokens^J
llm.usage.total_tokensÚJ
status_codeÈJ5
*respan.customer_params.customer_identifier
aliceJ)
 respan.threads.thread_identifier
s-1J0
$respan.metadata._tracing_sdk_version
2.24.0z