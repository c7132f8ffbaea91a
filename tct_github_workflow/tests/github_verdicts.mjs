// For github_cases.py: a JSON line {"text": yaml} or {"expression", "context"} in, true or false out:
// whether GitHub's own parser takes it. Both of its passes for a workflow.
import fs from 'fs';
import {parseWorkflow, convertWorkflowTemplate, NoOperationTraceWriter} from '@actions/workflow-parser';
import {splitAllowedContext} from '@actions/workflow-parser/templates/allowed-context';
import {Lexer, Parser} from '@actions/expressions';

function takesExpression(text, context) {
  const {namedContexts, functions} = splitAllowedContext(context);
  try {
    new Parser(new Lexer(text).lex().tokens, namedContexts, functions).parse();
    return true;
  } catch {
    return false;
  }
}

async function takesWorkflow(content) {
  const {context, value} = parseWorkflow({name: 'x.yml', content}, new NoOperationTraceWriter());
  if (context.errors.getErrors().length === 0) {
    await convertWorkflowTemplate(context, value, undefined, {errorPolicy: 1});
  }
  return context.errors.getErrors().length === 0;
}

for (const line of fs.readFileSync(process.argv[2], 'utf8').split('\n').filter(Boolean)) {
  const {text, expression, context} = JSON.parse(line);
  const taken = text === undefined ? takesExpression(expression, context) : await takesWorkflow(text);
  process.stdout.write(taken + '\n');
}
