// The images of a fleet for the explorer: folders are listed and files looked at on threads of their own, and what comes
// of it waits until somebody takes it.

import Cartography
import Explorer
import Live
import Qcow
import Storage

final class HostFleet: FleetShelf {
  /// How images are looked at.
  struct Options {
    var policy: ChainPolicy
    /// Also of files that are no images.
    var showsAll = false
    /// Images at a time; nil for as many as are worth it.
    var jobs: Int?
    /// The share of the names that is looked at, from 1.
    var share: (index: UInt64, count: UInt64)?
  }

  /// Some files that are looked at.
  private struct Look {
    let names: [FleetNames.Name]
    let crew: FleetCrew
    /// Rows that were taken of it.
    var taken = 0
  }

  /// Folders that are being listed.
  private final class Listing: @unchecked Sendable {
    private let monitor = Monitor()
    private var found: FleetNames?

    /// - Throws: ``ServerError`` if the host has no thread left.
    func start(_ places: [String], _ share: (index: UInt64, count: UInt64)?) throws(ServerError) {
      _ = try Thread.start {
        var names = FleetNames()
        for place in places { names.add(place) }
        names.settle(share: share)
        self.monitor.locked { self.found = names }
      }
    }

    /// What was found; nil as long as it is listed.
    var names: FleetNames? { monitor.locked { found } }
  }

  private let options: Options
  private(set) var places: [String]
  private(set) var problem: String?
  private var looks: [Look] = []
  private var listing: Listing?
  /// What is known of files when folders are listed again.
  private var known: [FleetRow] = []
  /// Files that have no row, by the bytes of their names.
  private var others: Set<[UInt8]> = []

  /// Begins to look at files.
  init(_ names: FleetNames, _ options: Options) {
    self.options = options
    places = names.given
    begin(names)
  }

  private func begin(_ names: FleetNames, known: [FleetRow] = []) {
    problem = names.isCut ? "there are more files than a fleet can have; the rest was left out" : nil
    let rows = Dictionary(
      known.map { (ByteText.bytes($0.path), $0) }, uniquingKeysWith: { first, _ in first })
    look(at: names.names, options.jobs ?? FleetCrew.jobs(for: names), known: rows)
  }

  private func look(at names: [FleetNames.Name], _ jobs: Int, known: [[UInt8]: FleetRow]) {
    guard !names.isEmpty else { return }
    let crew = FleetCrew.looking(at: names, options.policy, showsAll: options.showsAll, known: known)
    do throws(ServerError) { try crew.start(jobs) } catch {
      problem = error.what
      return
    }
    looks.append(Look(names: names, crew: crew))
  }

  // MARK: What the explorer asks

  var progress: FleetProgress? {
    if listing != nil { return FleetProgress(done: 0, all: nil) }
    guard !looks.isEmpty else { return nil }
    return FleetProgress(
      done: looks.reduce(0) { $0 + $1.taken }, all: looks.reduce(0) { $0 + $1.names.count })
  }

  var leftOut: Int { others.count }

  func news() -> [FleetNews] {
    var news: [FleetNews] = []
    if let names = listing?.names {
      listing = nil
      // What is not listed any more is gone.
      let listed = Set(names.names.map { ByteText.bytes($0.path) })
      news += known.filter { !listed.contains(ByteText.bytes($0.path)) }.map { .gone($0.path) }
      others.formIntersection(listed)
      begin(names, known: known)
      known = []
    }
    for index in looks.indices.reversed() {
      guard let rows = looks[index].crew.drain() else {
        looks.remove(at: index).crew.stop()
        continue
      }
      looks[index].taken += rows.count
      for (number, row) in rows {
        let path = looks[index].names[number].path
        if let row {
          others.remove(ByteText.bytes(path))
          news.append(.row(row))
        } else {
          others.insert(ByteText.bytes(path))
          news.append(.gone(path))
        }
      }
    }
    return news
  }

  func turn(to places: [String]) {
    stop()
    self.places = places
    others = []
    list()
  }

  func look(at row: FleetRow, always: Bool) {
    // It has a row, so it may be no image: what has become of it is told all the same.
    let name = FleetNames.Name(path: row.path, isGiven: true)
    look(at: [name], 1, known: always ? [:] : [ByteText.bytes(row.path): row])
  }

  func lookAgain(_ known: [FleetRow]) {
    stop()
    self.known = known
    list()
  }

  private func list() {
    let listing = Listing()
    do throws(ServerError) { try listing.start(places, options.share) } catch {
      problem = error.what
      return
    }
    self.listing = listing
  }

  func stop() {
    listing = nil
    known = []
    // What is under way ends by itself, and nobody waits for it.
    for look in looks { look.crew.giveUp() }
    looks = []
  }
}
