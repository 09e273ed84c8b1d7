// One line of a file of requests: a command of the explorer or of the exerciser, a pair of offset and length, or a
// line of a trace of the host's block layer or of system calls.

import Storage

/// What a line asks of the disk.
package enum TraceLine: Equatable, Sendable {
  case request(Request)
  /// It changes nothing: empty, a remark, a read, a flush, a call that failed.
  case nothing
  /// Why it is left out.
  case notUnderstood(String)
}

/// Reads the lines of one file, in their order.
package struct TraceParser {
  /// Words of a line that are looked at.
  private static let mostWords = 16
  /// A trace of the block layer tells every request several times, at several stations of its way: those of the
  /// station that the first one was seen at count.
  private var station: UInt8?

  package init() {}

  /// What a line says; it has no line end.
  package mutating func read(_ line: ArraySlice<UInt8>) -> TraceLine {
    if line.contains(UInt8(ascii: "(")) { return Self.call(ByteText.text(line)) }
    var words: [ArraySlice<UInt8>] = []
    for word in line.split(maxSplits: Self.mostWords, whereSeparator: { $0 == 0x20 || $0 == 0x09 }) {
      words.append(word)
    }
    guard var first = words.first, first.first != UInt8(ascii: "#") else { return .nothing }
    if words.count > 9, words[8].elementsEqual([UInt8(ascii: "+")]) { return blockLayer(words) }
    if first.first == UInt8(ascii: ":") { first = first.dropFirst() }
    if let digit = first.first, (0x30...0x39).contains(digit) {
      guard words.count == 2 else { return .notUnderstood("a line of numbers has an offset and a length") }
      return Self.request(.discard, words)
    }
    return Self.command(first, words.dropFirst())
  }

  // MARK: Numbers

  private static func number(_ word: ArraySlice<UInt8>) throws(CommandError) -> UInt64 {
    // Plain numbers are most of them.
    if word.count < 18, !word.isEmpty, word.allSatisfy({ (0x30...0x39).contains($0) }) {
      return word.reduce(0) { $0 * 10 + UInt64($1 - 0x30) }
    }
    return try Quantity.bytes(ByteText.text(word))
  }

  private static func request(_ kind: Request.Kind, _ numbers: [ArraySlice<UInt8>]) -> TraceLine {
    do throws(CommandError) {
      let (offset, length) = (try number(numbers[0]), try number(numbers[1]))
      guard length > 0 else { return .notUnderstood("the length must be at least 1") }
      return .request(Request(kind, at: offset, length: length))
    } catch { return .notUnderstood(error.description) }
  }

  // MARK: Commands

  private static let discards = ["discard", "d", "aio_discard", "trim", "unmap"]
  private static let writes = ["write", "w", "writev", "aio_write"]
  private static let zeroes = ["zero", "write_zeroes"]
  private static let harmless = [
    "read", "r", "readv", "aio_read", "flush", "f", "aio_flush", "map", "alloc", "length", "info", "sleep",
    "quit", "q",
  ]

  private static func command(_ name: ArraySlice<UInt8>, _ words: ArraySlice<ArraySlice<UInt8>>) -> TraceLine
  {
    let name = ByteText.text(name)
    if harmless.contains(name) { return .nothing }
    let isDiscard = discards.contains(name)
    guard isDiscard || writes.contains(name) || zeroes.contains(name) else {
      return .notUnderstood("'\(name)' is no request")
    }
    var numbers: [ArraySlice<UInt8>] = []
    var flags: Set<UInt8> = []
    var pattern: UInt8 = 0xcd
    var rest = words
    while let word = rest.popFirst() {
      guard word.first == UInt8(ascii: "-"), word.count > 1 else {
        numbers.append(word)
        continue
      }
      for letter in word.dropFirst() where letter != UInt8(ascii: "P") {
        guard "zuqfnpC".utf8.contains(letter) else {
          return .notUnderstood("\(name) \(ByteText.text(word)) is not played")
        }
        flags.insert(letter)
      }
      guard word.last == UInt8(ascii: "P") else { continue }
      do throws(CommandError) {
        guard let value = rest.popFirst() else { throw CommandError("-P needs a byte") }
        pattern = try Quantity.byte(ByteText.text(value))
      } catch { return .notUnderstood(error.description) }
    }
    guard numbers.count == 2 else {
      return .notUnderstood("\(name) needs an offset and a length, not \(counted(numbers.count, "number"))")
    }
    if isDiscard { return request(.discard, numbers) }
    let isZero = zeroes.contains(name) || flags.contains(UInt8(ascii: "z"))
    let kind =
      isZero ? Request.Kind.zero(mayUnmap: flags.contains(UInt8(ascii: "u"))) : .write(pattern: pattern)
    return request(kind, numbers)
  }

  // MARK: Traces of the host

  /// `8,0 1 2 0.5 99 Q D 2048 + 8 [name]`: device, processor, number, time, process, station, what, sector, count.
  private mutating func blockLayer(_ words: [ArraySlice<UInt8>]) -> TraceLine {
    guard let here = words[5].first, words[5].count == 1, "QDC".utf8.contains(here) else { return .nothing }
    guard station == nil || station == here else { return .nothing }
    let what = words[6]
    guard what.contains(UInt8(ascii: "D")) || what.contains(UInt8(ascii: "W")) else { return .nothing }
    do throws(CommandError) {
      let (sector, count) = (try Self.number(words[7]), try Self.number(words[9]))
      guard count > 0 else { return .nothing }
      let (offset, length) = (
        sector.multipliedReportingOverflow(by: 512), count.multipliedReportingOverflow(by: 512)
      )
      guard !offset.overflow, !length.overflow else { throw CommandError("the sector is too far away") }
      station = here
      let kind = what.contains(UInt8(ascii: "D")) ? Request.Kind.discard : .write(pattern: 0xcd)
      return .request(Request(kind, at: offset.partialValue, length: length.partialValue))
    } catch { return .notUnderstood(error.description) }
  }

  /// `fallocate(3, FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE, 4096, 8192) = 0` and its like.
  private static func call(_ line: String) -> TraceLine {
    guard let open = line.firstIndex(of: "("), let close = line.lastIndex(of: ")"), open < close else {
      return .notUnderstood("the call has no end")
    }
    let name = line[..<open].split(whereSeparator: { $0 == " " || $0 == "\t" }).last ?? ""
    let arguments = line[line.index(after: open)..<close].split(separator: ",").map { argument in
      argument.filter { $0 != " " && $0 != "[" && $0 != "]" }
    }
    guard ["fallocate", "fallocate64", "ioctl", "pwrite64", "pwrite"].contains(name) else { return .nothing }
    guard !line[close...].contains("= -1"), arguments.count >= 4 else { return .nothing }
    let last = arguments.suffix(2).map { ArraySlice(ByteText.bytes($0)) }
    switch name {
    case "ioctl" where arguments[1] == "BLKDISCARD": return request(.discard, last)
    case "ioctl" where arguments[1] == "BLKZEROOUT": return request(.zero(mayUnmap: false), last)
    case "ioctl": return .nothing
    case "pwrite64", "pwrite": return request(.write(pattern: 0xcd), last.reversed())
    default:
      if arguments[1].contains("PUNCH_HOLE") { return request(.discard, last) }
      return arguments[1].contains("ZERO_RANGE") ? request(.zero(mayUnmap: false), last) : .nothing
    }
  }
}
