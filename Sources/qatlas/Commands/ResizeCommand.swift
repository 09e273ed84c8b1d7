// `qatlas resize`: makes the disk of an image larger or smaller, with the options and sentences of the
// genuine tool. Shrinking loses data, so it has to be asked for by name.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import QcowFormat

struct ResizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "resize", abstract: "Change the size of an image's disk.",
    discussion: "SIZE is a size (64k, 1.5G), or a change with + or - in front; write -- before a minus.")

  @Option(name: .customShort("f", allowingJoined: true), help: "The format, qcow2.") var format: String?
  @Option(help: "What is allocated for the new area: off, metadata, falloc, full.") var preallocation = "off"
  @Flag(help: "Allow a smaller disk, which loses what lies behind its new end.") var shrink = false
  @Flag(name: .customShort("q"), help: "Print nothing.") var quiet = false
  @OptionGroup var policy: PolicyOptions
  @OptionGroup var chain: ChainFlags
  @Argument(help: "The image file.") var image: String
  @Argument(help: "The new size, or a change.") var size: String

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    guard let preallocation = Image.CreateOptions.Preallocation(rawValue: preallocation) else {
      throw streams.failure("Invalid preallocation mode '\(Escaping.human(preallocation))'")
    }
    let sign = size.first == "+" || size.first == "-" ? size.first : nil
    let amount: UInt64
    do throws(Notation.ParseError) {
      amount = try Notation.parse(sign == nil ? size : String(size.dropFirst()))
    } catch {
      throw streams.failure(
        "Parameter 'size' expects a non-negative number below 2^64",
        hint: """
          Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-
          and exabytes, respectively.

          """)
    }
    let opened = try Opening.forChange(
      image, format: format, chain, writable: true, policies: policy.policies, discard: .ignore, streams)
    if let line = PinText.warning(opened, image) { streams.error(line) }
    let old = opened.geometry.virtualSize
    let new = try target(old, sign, amount, streams)
    guard new >= old || shrink else {
      throw streams.failure(
        "Use the --shrink option to perform a shrink operation.",
        hint: "qatlas: warning: Shrinking an image will delete all data beyond the shrunken image's end. "
          + "Before performing such an operation, make sure there is no important data there.\n")
    }
    guard new > old || preallocation == .off else {
      throw streams.failure("Preallocation can only be used for growing images")
    }
    do throws(ImageError) {
      let behind = try opened.entriesBehindEnd(within: new)
      if let first = behind.first {
        streams.error(
          "qatlas: warning: \(behind.clusters) clusters are mapped behind the end of the disk, saved VM state "
            + "for one; the larger disk shows their bytes from guest offset 0x\(Notation.hex(first.value)) on. "
            + "Going back to a snapshot or saving a new one with VM state frees them first.\n")
      }
      try opened.resize(to: new, preallocation: preallocation)
      try opened.close()
    } catch {
      throw streams.failure(Escaping.human(error.description))
    }
    if !quiet { streams.output("Image resized.\n") }
    try streams.end()
  }

  private func target(
    _ old: UInt64, _ sign: Character?, _ amount: UInt64, _ streams: Streams
  ) throws -> UInt64 {
    switch sign {
    case "+":
      let (sum, overflow) = old.addingReportingOverflow(amount)
      guard !overflow, sum <= UInt64(Int64.max) else { throw streams.failure("the new size is too large") }
      return sum
    case "-":
      guard amount < old else { throw streams.failure("New image size must be positive") }
      return old - amount
    default:
      guard amount > 0 else { throw streams.failure("New image size must be positive") }
      return amount
    }
  }
}
