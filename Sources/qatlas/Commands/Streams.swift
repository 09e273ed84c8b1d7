// The two streams of the command line tools: output is collected and written in large pieces, errors
// go out at once, and both start with the program's name where the genuine tools do. Nothing else in
// the program writes to them.

import ArgumentParser
import CSys
import Cartography
import Explorer
import Glibc
import Qcow
import ToolText

/// Output of one command. Call ``flush()`` before the program ends.
final class Streams {
  /// What happens when nobody takes the output any more.
  enum Loss {
    /// The command was for its output alone and ends, as the signal for a closed pipe would end it.
    case ends
    /// The command changes a file and finishes that first; ``outputIsLost`` tells.
    case isKept
  }

  private var pending: [UInt8] = []
  private static let piece = 1 << 16
  private let loss: Loss
  /// Output could not be written; the command ends with 1.
  private(set) var outputIsLost = false

  init(loss: Loss = .ends) { self.loss = loss }

  /// Adds text to the output.
  func output(_ text: String) {
    pending.append(contentsOf: Escaping.lines(text))
    if pending.count >= Self.piece { flush() }
  }

  /// Adds bytes that are fit for a terminal to the output.
  func output(_ bytes: UnsafeRawBufferPointer) {
    unsafe pending.append(contentsOf: bytes)
    if pending.count >= Self.piece { flush() }
  }

  /// Writes text to the error stream, behind all output so far.
  func error(_ text: String) {
    flush()
    Output.error(text)
  }

  /// Tells a step of the repair that opening an image made.
  func repair(_ step: RepairStep) { error(CheckText.lines(of: step, program: Tool.name)) }

  /// Closes an image at the end of a command. Of faults that were asked for everything has been told, and the genuine
  /// tool ends as if nothing were lost.
  func close(_ disk: any GuestDisk) throws {
    do throws(ImageError) { try disk.close() } catch {
      if !error.isInjected { throw failure(Escaping.human(error.description)) }
      if !Tool.isStandIn { throw ExitCode(1) }
    }
  }

  /// Tells what could not be brought to the file when it was closed.
  func loss(_ sentence: String) { error("\(Tool.name): \(Escaping.human(sentence))\n") }

  /// Says why the command fails and returns what it then throws.
  /// `hint` is printed as it is.
  func failure(_ text: String, hint: String? = nil) -> ExitCode {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    error(lines.map { "\(Tool.name): \($0)\n" }.joined() + (hint ?? ""))
    return ExitCode(1)
  }

  /// Refuses a value of `--output` that is neither text nor JSON.
  func requireOutputFormat(_ value: String, of verb: String) throws {
    guard value != "human" && value != "json" else { return }
    throw failure(
      "--output expects 'human' or 'json', not '\(Escaping.human(value))'",
      hint: "Try '\(Tool.name) \(verb) --help' for more information\n")
  }

  /// Shows text that the next one overwrites, or that ends a row of such texts.
  func progress(_ text: String, end: Unicode.Scalar, onOutput: Bool) {
    flush()
    let bytes = Escaping.lines(text) + [UInt8(ascii: end)]
    if onOutput { write(bytes) } else { _ = Output.write(bytes, to: STDERR_FILENO) }
  }

  /// Writes what is left; for a command that goes on without its output it fails here if that is lost.
  func end() throws {
    flush()
    if outputIsLost { throw ExitCode(1) }
  }

  func flush() {
    guard !pending.isEmpty else { return }
    write(pending)
    pending.removeAll(keepingCapacity: true)
  }

  private func write(_ bytes: [UInt8]) {
    guard !outputIsLost else { return }
    let problem = Output.write(bytes, to: STDOUT_FILENO)
    guard problem != 0 else { return }
    outputIsLost = true
    if problem != EPIPE {
      Output.error("\(Tool.name): the output cannot be written: \(Output.reason(problem))\n")
    }
    guard loss == .ends else { return }
    if problem == EPIPE { csys_die_of(SIGPIPE) }
    exit(1)
  }
}
