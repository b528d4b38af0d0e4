
∏


service.name
xûõ
›Õ‰4ùiKÇ,ó•\ls™ä.v%ÛAm*llm.gpt-4o-mini094F–@ÌAú∏æ–@ÌJ&
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
chatcmpl-openai0021Jk
traceloop.entity.outputP
N{"content":"It is sunny in Paris, says answer number 21. ","role":"assistant"}J'
gen_ai.completion.0.role
	assistantJN
gen_ai.completion.0.content/
-It is sunny in Paris, says answer number 21. J 
gen_ai.usage.input_tokens±J!
gen_ai.usage.prompt_tokens±J!
gen_ai.usage.output_tokensôJ%
gen_ai.usage.completion_tokensôJ
llm.usage.total_tokens J
status_code»J0
$respan.metadata._tracing_sdk_version
2.24.0z