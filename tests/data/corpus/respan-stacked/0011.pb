
ö


service.name
xÜÙ
44Ş4dB×ªãxVhˆÄ5‡0WF"Th¦[
s*llm.gpt-5-mini09şP¦3Ï@íAÑ]dCÏ@íJ*
traceloop.entity.name
openai.responseJ*
traceloop.entity.path
openai.responseJ
gen_ai.system
openaiJ
llm.request.type
chatJ
gen_ai.is_streamingJ 
respan.entity.log_type
chatJF
traceloop.entity.input,
*[{"content":"CANARY hello","role":"user"}]J
gen_ai.prompt.0.role
userJ)
gen_ai.prompt.0.content
CANARY helloJ$
gen_ai.request.model

gpt-5-miniJ0
gen_ai.response.model
gpt-5-mini-2025-08-07J'
gen_ai.response.id
resp_0012openaiJ[
traceloop.entity.output@
>{"output_text":"It is sunny in Paris, says answer number 12."}J'
gen_ai.completion.0.role
	assistantJM
gen_ai.completion.0.content.
,It is sunny in Paris, says answer number 12.J 
gen_ai.usage.input_tokens¤J!
gen_ai.usage.prompt_tokens¤J!
gen_ai.usage.output_tokens¶J%
gen_ai.usage.completion_tokens¶J
llm.usage.total_tokensÚJ
status_codeÈJ5
*respan.customer_params.customer_identifier
aliceJ)
 respan.threads.thread_identifier
s-1J0
$respan.metadata._tracing_sdk_version
2.24.0z