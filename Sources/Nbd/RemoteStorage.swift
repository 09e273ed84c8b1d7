// A disk behind the server of somebody else as storage to look at. Requests are under way side by side: who knows what
// it will need says so early (`willRead`), and what has come once stays for a while. Nothing is ever written.

import Glibc
package import Storage

/// The disk of a server.
package final class RemoteStorage: LookedAtStorage {
  /// Bytes of a request.
  private static let longestRequest: UInt64 = 256 << 10
  /// Bytes that a read asks for ahead of those it waits for.
  private static let window: UInt64 = 4 << 20
  /// Bytes of the beginning that are fetched at once: header and what follows it.
  private static let beginning: UInt64 = 64 << 10
  /// Hints that wait until there is room for their requests.
  private static let mostHints = 1024
  /// Bytes of one hint that are heeded.
  private static let longestHint: UInt64 = 32 << 20
  /// Milliseconds that somebody who could do something else waits.
  private static let moment: Int32 = 2
  /// Questions for the whole of a disk, for the sum of what it keeps.
  private static let mostQuestions = 4096
  /// Bytes that one question for states is about.
  private static let longestQuestion: UInt64 = 1 << 32 - 1 << 16
  /// How long one answer may take, however much of it drips in.
  private static let longestWait = Duration.seconds(300)

  /// Where it is.
  package let address: NbdAddress
  /// The address as a URI of plain characters.
  package let name: String
  /// Bytes of the disk, as the server told at the beginning.
  package let length: UInt64
  private var connection: NbdConnection?
  /// Why there is no connection any more.
  private var end = ""
  private var pages: RemotePages
  private var extents = RemoteExtents()
  /// The server does not tell states, or has stopped to.
  private var tellsStates: Bool
  /// Pages that are asked for or wait to be; true if only by a hint.
  private var coming: [UInt64: Bool] = [:]
  /// Ranges of whole pages that wait until there is room, the next one last.
  private var waiting: [NbdRequest] = []
  /// Pages that were asked for and refused.
  private var refused: [UInt64: StorageError] = [:]
  /// Requests of all kinds that were sent.
  package private(set) var requests = 0
  /// Bytes of the disk that came.
  package private(set) var bytesRead: UInt64 = 0
  /// The most requests that were under way at a time.
  package private(set) var mostUnderWay = 0

  /// Milliseconds of silence after which the server counts as dead.
  private let patience: Int32

  /// Connects to a server; up to `memory` bytes of what was read are kept. A server with open requests that is silent
  /// for `patience` milliseconds counts as dead, as does one that takes longer over what is settled before.
  ///
  /// - Throws: ``StorageError`` for a server that is not there, does not have the export or does not keep to the
  ///   protocol.
  package init(
    _ address: NbdAddress, memory: Int = 256 << 20, patience: Int32 = NbdConnection.usualPatience
  ) throws(StorageError) {
    self.address = address
    name = address.uri
    self.patience = patience
    do throws(ConnectionEnd) {
      let connection = try NbdConnection(address, patience: patience)
      length = connection.terms.length
      tellsStates = connection.terms.allocation != nil
      self.connection = connection
    } catch {
      throw StorageError(.open, name: address.uri, errno: error.errno, detail: error.sentence(patience))
    }
    pages = RemotePages(memory)
    willRead(at: 0, count: Self.beginning)
  }

  package var hasFixedLength: Bool { true }
  package var refusal: String { "what lies behind an NBD server is only looked at" }

  // MARK: Pages

  private func number(_ offset: UInt64) -> UInt64 { offset / UInt64(Page.size) }

  /// The numbers of the pages of a range that ends with the disk at the latest.
  private func numbers(_ offset: UInt64, _ count: UInt64) -> Range<UInt64> {
    guard offset < length, count > 0 else { return 0..<0 }
    let last = offset + min(count, length - offset) - 1
    return number(offset)..<number(last) + 1
  }

  package func willRead(at offset: UInt64, count: UInt64) {
    guard connection != nil, waiting.count < Self.mostHints else { return }
    ask(numbers(offset, min(count, Self.longestHint)), isHint: true)
    send()
  }

  /// Where walks over tables are, by the kind of the tables.
  private var orders: [ReadingOrder: RemoteOrder] = [:]

  package func willRead(_ order: ReadingOrder, size: UInt64, _ tables: () -> [UInt64]) {
    orders[order] = RemoteOrder(tables(), size: size)
  }

  /// Somebody is about to read a byte: what follows it in a walk is fetched.
  private func pass(_ offset: UInt64) {
    guard connection != nil else { return }
    for order in orders.keys {
      for next in orders[order]?.pass(offset) ?? [] {
        ask(numbers(next.offset, min(next.count, Self.longestHint)), isHint: true)
      }
    }
  }

  package func isReady(at offset: UInt64, count: UInt64) -> Bool {
    let numbers = numbers(offset, count)
    pass(offset)
    func isThere() -> Bool { numbers.allSatisfy { pages.contains($0) } }
    if connection == nil || isThere() { return true }
    take(for: Self.moment)
    if connection == nil || isThere() { return true }
    // What was refused is for a read to say.
    if numbers.contains(where: { refused[$0] != nil }) { return true }
    ask(numbers, isHint: false)
    send()
    return false
  }

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    let inside = offset < length ? Int(min(UInt64(buffer.count), length - offset)) : 0
    if inside < buffer.count {
      unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[inside...]).initializeMemory(
        as: UInt8.self, repeating: 0)
    }
    pass(offset)
    let all = numbers(offset, UInt64(inside))
    let ahead = number(Self.window)
    var asked = all.lowerBound
    for piece in PagePieces(offset: offset, count: UInt64(inside)) {
      if piece.page >= asked {
        asked = min(all.upperBound, piece.page + ahead)
        ask(piece.page..<asked, isHint: false)
      }
      let page = try page(piece.page)
      unsafe page.copy(from: piece.start, into: UnsafeMutableRawBufferPointer(rebasing: buffer[piece.range]))
    }
  }

  /// A page, when it has come.
  private func page(_ number: UInt64) throws(StorageError) -> Page {
    if let page = pages[number] { return page }
    let deadline = ContinuousClock.now + Self.longestWait
    // A hint that was refused as a part of a larger request is asked for once more by itself.
    for _ in 0..<3 {
      while coming[number] != nil, connection != nil {
        send()
        take(for: patience)
        if ContinuousClock.now > deadline { close(.late) }
      }
      if let page = pages[number] { return page }
      if let error = refused.removeValue(forKey: number) { throw error }
      guard connection != nil else { break }
      ask(number..<number + 1, isHint: false)
    }
    var error = StorageError(
      .read, name: name, offset: number * UInt64(Page.size), errno: EIO,
      detail: connection == nil ? end : "the server does not answer for it")
    error.isGone = connection == nil
    throw error
  }

  /// Asks for those pages of a range that are neither here nor on their way.
  private func ask(_ numbers: Range<UInt64>, isHint: Bool) {
    guard let connection else { return }
    let unit = max(1, connection.terms.smallest / UInt64(Page.size))
    let most = number(min(Self.longestRequest, connection.terms.largest))
    var rows: [NbdRequest] = []
    var at = numbers.lowerBound
    while at < numbers.upperBound {
      if let onlyHinted = coming[at] {
        if onlyHinted && !isHint { hurry(at) }
      } else if !pages.contains(at) {
        // A request begins and ends where the server can begin and end.
        let start = at / unit * unit
        var stop = at + 1
        while stop < numbers.upperBound, stop - start < most, coming[stop] == nil, !pages.contains(stop) {
          stop += 1
        }
        stop = (stop + unit - 1) / unit * unit
        for number in start..<stop { coming[number] = isHint }
        let size = UInt64(Page.size)
        rows.append(
          NbdRequest(isStatus: false, range: start * size..<min(stop * size, length), isHint: isHint))
        at = stop
        continue
      }
      at += 1
    }
    // The next one stands last; what somebody waits for goes first.
    if isHint { waiting.insert(contentsOf: rows.reversed(), at: 0) } else { waiting += rows.reversed() }
  }

  /// Somebody waits for a page that a hint has asked for.
  private func hurry(_ number: UInt64) {
    let offset = number * UInt64(Page.size)
    guard let index = waiting.lastIndex(where: { !$0.isStatus && $0.range.contains(offset) }) else {
      coming[number] = false
      return
    }
    var request = waiting.remove(at: index)
    request.isHint = false
    setComing(request, false)
    waiting.append(request)
  }

  private func setComing(_ request: NbdRequest, _ value: Bool?) {
    for number in numbers(request.range.lowerBound, UInt64(request.range.count)) { coming[number] = value }
  }

  // MARK: The connection

  /// Sends requests as long as there is room for them.
  private func send() {
    guard let connection else { return }
    while connection.hasRoom, let next = waiting.popLast() { begin(next, connection) }
    do throws(ConnectionEnd) { try connection.send() } catch { close(error) }
  }

  private func begin(_ request: NbdRequest, _ connection: NbdConnection) {
    if connection.count == 0 { lastHeard = .now }
    connection.ask(request)
    requests += 1
    mostUnderWay = max(mostUnderWay, connection.count)
  }

  /// When the server was heard last, or asked when nothing was open.
  private var lastHeard = ContinuousClock.now

  /// Takes what has come, for which it waits so many milliseconds at most.
  private func take(for milliseconds: Int32) {
    guard let connection, connection.count > 0 else { return }
    do throws(ConnectionEnd) {
      if try connection.receive(for: milliseconds, { request, answer in take(request, answer) }) {
        lastHeard = .now
      } else if milliseconds >= patience || lastHeard + .milliseconds(Int(patience)) < .now {
        throw .late
      }
    } catch { return close(error) }
    send()
  }

  private func take(_ request: NbdRequest, _ answer: NbdAnswerOf) {
    switch answer {
    case .bytes(let bytes):
      unsafe store(bytes, request)
    case .extents(let list):
      extents.add(list, request.range)
      openQuestions -= 1
    case .refused(let number, let words):
      guard !request.isStatus else {
        (openQuestions, tellsStates) = (openQuestions - 1, false)
        return
      }
      let error = StorageError(
        .read, name: name, offset: request.range.lowerBound, errno: Self.errno(number),
        detail: Self.sentence(number, words))
      for page in numbers(request.range.lowerBound, UInt64(request.range.count)) {
        // Whoever waits for a page of a hint that failed asks for it by itself.
        let isWaitedFor = coming.removeValue(forKey: page) == false && !request.isHint
        if isWaitedFor, refused.count < Self.mostHints { refused[page] = error }
      }
    }
  }

  private func store(_ bytes: UnsafeRawBufferPointer, _ request: NbdRequest) {
    bytesRead += UInt64(bytes.count)
    var at = 0
    while at < bytes.count {
      let end = min(at + Page.size, bytes.count)
      let number = number(request.range.lowerBound + UInt64(at))
      let page = unsafe Page.holding(UnsafeRawBufferPointer(rebasing: bytes[at..<end]))
      pages.add(page, number)
      coming[number] = nil
      at = end
    }
  }

  /// Nothing comes any more; whoever asks is told why.
  private func close(_ reason: ConnectionEnd) {
    connection = nil
    end = reason.sentence(patience)
    coming = [:]
    waiting = []
    (openQuestions, tellsStates) = (0, false)
  }

  // MARK: Holes

  /// Questions for states that are under way.
  private var openQuestions = 0

  package func extent(at offset: UInt64) -> HostExtent {
    guard offset < length else { return HostExtent(isHole: false, end: offset, isKnown: false) }
    if let known = extents[offset] { return known }
    askForStates(from: offset)
    return extents[offset] ?? HostExtent(isHole: false, end: length, isKnown: false)
  }

  private func askForStates(from offset: UInt64) {
    guard let connection, tellsStates else { return }
    var questions: [NbdRequest] = []
    let unit = connection.terms.smallest
    var at = extents[offset / unit * unit] == nil ? offset / unit * unit : offset
    // Who goes on where something is known goes over the whole disk.
    let most = offset > 0 && extents[offset - 1] != nil ? NbdConnection.mostUnderWay : 1
    while at < length, questions.count < most {
      if let known = extents[at] {
        at = max(known.end, at + 1)
        continue
      }
      let end = at + min(Self.longestQuestion, length - at)
      let stop = max(extents.start(behind: at, before: end), at + 1)
      questions.append(NbdRequest(isStatus: true, range: at..<stop, isHint: false))
      at = stop
    }
    openQuestions += questions.count
    waiting += questions.reversed()
    send()
    let deadline = ContinuousClock.now + Self.longestWait
    while openQuestions > 0, self.connection != nil {
      take(for: patience)
      if ContinuousClock.now > deadline { close(.late) }
    }
  }

  /// What the server keeps, as far as it tells; else all of it.
  package var allocatedBytes: UInt64 {
    if let known = allocated { return known }
    var (sum, at) = (UInt64(0), UInt64(0))
    let before = requests
    while at < length {
      let extent = extent(at: at)
      guard extent.isKnown, requests - before <= Self.mostQuestions else {
        allocated = length
        return length
      }
      if !extent.isHole { sum += extent.end - at }
      at = max(extent.end, at + 1)
    }
    allocated = sum
    return sum
  }
  private var allocated: UInt64?

  // MARK: Words

  private static func errno(_ number: UInt32) -> Int32 {
    switch number {
    case NbdError.notPermitted: EPERM
    case NbdError.memory: ENOMEM
    case NbdError.invalid: EINVAL
    case NbdError.noSpace: ENOSPC
    case NbdError.unsupported: ENOTSUP
    default: EIO
    }
  }

  private static func sentence(_ number: UInt32, _ words: String) -> String {
    let reason = FileStorage.reason(errno(number))
    return "the server says: \(reason)" + (words.isEmpty ? "" : " (\(words))")
  }
}

extension ConnectionEnd {
  /// Why there is no connection to a server.
  func sentence(_ patience: Int32) -> String {
    switch self {
    case .left: "the server has closed the connection"
    case .broken(let what): "the server cannot be used: \(what)"
    case .late: "the server was silent for \(max(1, patience / 1000)) seconds"
    case .failed(EADDRNOTAVAIL): "no host of that name is known"
    case .failed(let number): FileStorage.reason(number)
    }
  }

  fileprivate var errno: Int32 { if case .failed(let number) = self { number } else { EIO } }
}
