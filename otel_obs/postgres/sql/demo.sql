-- name: question
SELECT agent_id, model_name, sum(input_tokens) AS input, sum(output_tokens) AS output,
       round(sum(cost_cents), 4) AS cents
FROM model_costs
GROUP BY agent_id, model_name
ORDER BY cents DESC;
