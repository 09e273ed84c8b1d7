// Completions for shells: those that the argument parser makes from the declarations, and around them what it does not
// know, that a first word which is no subcommand is an image and means the default subcommand.

import ArgumentParser

/// A shell that has completions.
enum ShellName: String, ExpressibleByArgument, CaseIterable {
  case bash, zsh, fish

  /// The text to be read by the shell.
  var completions: String {
    switch self {
    case .bash: Self.bash(WholeProgram.completionScript(for: .bash))
    case .zsh: Self.zsh(WholeProgram.completionScript(for: .zsh))
    case .fish: Self.fish(WholeProgram.completionScript(for: .fish))
    }
  }

  private static let program = "qatlas"
  private static let usual = Explore.configuration.commandName ?? ""
  private static var words: String {
    Qatlas.subcommandNames.joined(separator: " ")
      + " help"
  }

  /// The words of a line with the default subcommand put in where none is named.
  private static func bash(_ script: String) -> String {
    let last = "complete -o filenames -F _\(program) \(program)"
    return script.replacing(last, with: "") + """
      _\(program)_or_image() {
          COMPREPLY=()
          local -a found=()
          local -i is_named=0
          [[ " \(words) " == *" ${COMP_WORDS[1]} "* ]] && is_named=1
          if [[ "${COMP_CWORD}" -eq 1 || "${is_named}" -eq 1 ]]; then
              _\(program) "${@}"
              [[ "${COMP_CWORD}" -gt 1 ]] && return
              found=("${COMPREPLY[@]}")
              COMPREPLY=()
          fi
          COMP_WORDS=("${COMP_WORDS[0]}" \(usual) "${COMP_WORDS[@]:1}")
          COMP_CWORD=$((COMP_CWORD + 1))
          _\(program) "${@}"
          COMPREPLY=("${found[@]}" "${COMPREPLY[@]}")
      }

      complete -o filenames -F _\(program)_or_image \(program)

      """
  }

  private static func zsh(_ script: String) -> String {
    let last = "if [[ \"${funcstack[1]}\" = _\(program) ]]; then"
    let around = """
      zmodload zsh/parameter
      functions[_\(program)_of_words]="${functions[_\(program)]}"
      _\(program)() {
          local -i ret=1
          if (( CURRENT == 2 )) || [[ " \(words) " == *" ${words[2]} "* ]]; then
              _\(program)_of_words "${@}" && ret=0
              (( CURRENT > 2 )) && return ret
          fi
          words=("${words[1]}" \(usual) "${(@)words[2,-1]}")
          (( CURRENT++ ))
          _\(program)_of_words "${@}" && ret=0
          return ret
      }


      """
    return script.replacing(last, with: around + last)
  }

  private static func fish(_ script: String) -> String {
    let tokens = "    set -l unparsed_tokens (__\(program)_tokens -pc)\n"
    let inserted = """
      if test (count $unparsed_tokens) -gt 1; and not contains -- $unparsed_tokens[2] \(words)
          set unparsed_tokens $unparsed_tokens[1] \(usual) $unparsed_tokens[2..]
      end

      """.split(separator: "\n").map { "    \($0)\n" }.joined()
    // The first word can be an option of the default subcommand as well.
    let own = script.split(separator: "\n").filter { $0.contains("\"\(program) \(usual)\"") }
    let first = own.map { $0.replacing("\"\(program) \(usual)\"", with: "\"\(program)\"") + "\n" }.joined()
    return script.replacing(tokens, with: tokens + inserted) + "\n" + first
  }
}
