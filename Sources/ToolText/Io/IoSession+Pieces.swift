// The commands whose length is given in pieces and those that the genuine tool carries out behind the
// prompt, and the few that act on the program instead of the disk.

import Cartography
import Glibc
import Qcow
import QcowFormat

extension IoSession {
  // MARK: Lengths in pieces

  /// Offset and sum of the lengths of a request.
  private func pieces(_ arguments: IoArguments) throws(Failure) -> (offset: UInt64, count: UInt64) {
    guard arguments.operands.count >= 2 else { throw .usage }
    let offset = try Self.number(arguments.operands[0])
    var total: UInt64 = 0
    for word in arguments.operands.dropFirst() {
      let length = try Self.number(word)
      guard length <= Self.largestRequest else {
        throw .text("Argument '\(Escaping.human(word))' exceeds maximum size \(Self.largestRequest)")
      }
      guard total <= Self.largestRequest - length else {
        throw .text("The total number of bytes exceed the maximum size \(Self.largestRequest)")
      }
      total += length
    }
    return (offset, total)
  }

  func readPieces(_ arguments: IoArguments, _ disk: any GuestDisk) throws(Failure) {
    let pattern = try arguments.values["P"].map { (text) throws(Failure) in try Self.pattern(text) }
    guard !arguments.flags.contains("i") else {
      terminal.output("injecting invalid read request\n")
      return
    }
    let (offset, count) = try pieces(arguments)
    try requireOnDisk(disk, offset, count, "readv")
    try read(arguments, disk, offset, count, pattern, 0..<count)
  }

  func writePieces(_ arguments: IoArguments, _ disk: any GuestDisk, verb: String) throws(Failure) {
    let pattern = try arguments.values["P"].map { (text) throws(Failure) in try Self.pattern(text) } ?? 0xcd
    let (offset, count) = try pieces(arguments)
    try requireOnDisk(disk, offset, count, verb)
    let seconds = try writeData(disk, offset, Int(count), pattern, nil, arguments.flags, verb: verb)
    report(arguments, IoFormat.Report(verb: "wrote", offset: offset, count: count, seconds: seconds))
  }

  // MARK: Behind the prompt

  func writeInBackground(_ arguments: IoArguments, _ disk: any GuestDisk) throws(Failure) {
    let flags = arguments.flags
    guard flags.contains("z") || flags.contains("u") else {
      guard !flags.contains("i") else {
        if let text = arguments.values["P"] { _ = try Self.pattern(text) }
        terminal.output("injecting invalid write request\n")
        return
      }
      return try writePieces(arguments, disk, verb: "aio_write")
    }
    guard arguments.operands.count == 2 || flags.contains("z") && arguments.operands.count > 2 else {
      throw .usage
    }
    guard arguments.operands.count == 2 else { throw .text("-z supports only a single length parameter") }
    guard flags.contains("z") else { throw .text("-u requires -z to be specified") }
    let (offset, count) = try range(arguments, limit: nil)
    guard !flags.contains("i") else {
      terminal.output("injecting invalid write request\n")
      return
    }
    try requireOnDisk(disk, offset, count, "aio_write")
    let seconds = try timed { () throws(Failure) in
      try engine("aio_write") { () throws(ImageError) in
        try disk.writeZeroes(at: GuestOffset(offset), count: ByteCount(count), mayUnmap: flags.contains("u"))
      }
      try flushBehind(flags, disk)
    }
    report(arguments, IoFormat.Report(verb: "wrote", offset: offset, count: count, seconds: seconds))
  }

  // MARK: The disk's size

  func truncate(_ arguments: IoArguments, _ disk: any GuestDisk) throws(Failure) {
    var preallocation = Image.CreateOptions.Preallocation.off
    if let word = arguments.values["m"] {
      guard let known = Image.CreateOptions.Preallocation(rawValue: word) else {
        terminal.error("\(program): Invalid preallocation mode '\(Escaping.human(word))'\n")
        throw .said
      }
      preallocation = known
    }
    guard arguments.operands.count == 1 else { throw .usage }
    let size = try Self.number(arguments.operands[0])
    do throws(ImageError) { try disk.resize(to: ByteCount(size), preallocation: preallocation) } catch {
      terminal.error("\(program): \(Escaping.human(error.description))\n")
      throw .said
    }
  }

  // MARK: The program

  /// Waits that many milliseconds.
  func pause(_ word: String) throws(Failure) {
    guard let milliseconds = UInt32(word), !word.hasPrefix("+") else {
      throw .text("\(Escaping.human(word)) is not a valid number")
    }
    _ = poll(nil, 0, Int32(clamping: milliseconds))
  }

  func raiseSignal(_ word: String) throws(Failure) {
    let number = try Self.number(word)
    guard number < 65 else {
      throw .text("signal argument '\(Escaping.human(word))' is too large to be a valid signal")
    }
    _ = Glibc.raise(Int32(number))
  }
}
