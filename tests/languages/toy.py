from llbkit.frontends.kit import GrammarLanguage, ProgramFile, TargetFact


class Toy(GrammarLanguage):
    name, grammar = "toy", (__name__, "toy")
    file = ProgramFile(name="build.toy", language="toy", noun="toy file")

    def targets(self, program):
        last = program.clauses[-1:]
        return [
            TargetFact(*block.words, default=block in last, place=block.place) for block in program.clauses
        ]

    def lint(self, program):
        for block in program.clauses:
            if not block.words[0].islower():
                yield block.parts[0].warning("TargetCasing", f"Target '{block.words[0]}' should be lowercase")

    async def lower(self, program, target):
        (block,) = (block for block in program.clauses if block.words[0] == target.name)
        await target.stand_on(block.words[1], block.parts[1].span)
        for step in block.clauses:
            match step.rule, *step.words:
                case "arg", name, *default:
                    target.env(name, target.arg(name, step.span, default="".join(default)))
                case "copy", src, dest, *origin:
                    await target.copy(src, dest, step.span, source="".join(origin))
                case "run", line:
                    target.shell(line, step.span)
