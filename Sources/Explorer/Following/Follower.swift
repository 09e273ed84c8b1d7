// Follows the file of a session that another program writes: looks when the file says that it changed, takes over what
// is sound, and waits where the other one is in the middle of something.

import Cartography
import Qcow
import Storage
import ToolText

/// Follows one file for one session.
package final class Follower: Work {
  /// Of all time so much at most is spent on looking: one part in this many.
  private static let share = 25
  /// The least time between two looks.
  private static let pause = Duration.milliseconds(100)
  /// How long the other program gets to finish what it is in the middle of.
  private static let patience = Duration.milliseconds(20)
  /// Bytes of pages in the history; with more the file is opened again.
  private static let mostHistory = 48 << 20
  /// So long nothing changed, then the maps are counted anew once: sooner where that takes no time.
  private var rest: Duration { session.atlas.hostClusters < 1 << 16 ? .milliseconds(200) : .seconds(2) }

  /// What is known of the file.
  package enum State: Equatable, Sendable {
    /// It is as it is shown.
    case settled
    /// It grew or was written, and its tables are as they are shown.
    case tablesUnchanged
    /// Some entry and its count do not fit together yet; what is shown is older.
    case changing
    /// The file is no image that can be read; what is shown is older.
    case unreadable
  }

  private unowned let session: Session
  private let file: FollowedFile
  private let clock = ContinuousClock()

  /// Of the file, when the look began whose result is shown; nil if the next look is owed.
  private var settled: FileIdentity?
  /// The same of the look that is under way, and of the one before it. A time stamp may stand still for some
  /// milliseconds while bytes change, so that only two looks with the same one are worth it.
  private var began: FileIdentity?
  private var before: FileIdentity?
  /// The file as the maps were counted last.
  private var counted: FileIdentity?
  private var isLooking = false
  private var spent = Duration.zero
  private var nextLook: ContinuousClock.Instant
  private var lastChange: ContinuousClock.Instant
  private var owesCount = false
  private var history = 0

  /// What is known of the file now.
  package private(set) var state = State.settled
  /// Why the file has to be opened again; nil if it need not be.
  package private(set) var reasonToReopen: String?

  init(_ session: Session, _ seen: SeenStorage) {
    self.session = session
    file = FollowedFile(session.image, over: session.overlay, seen)
    counted = session.identity
    nextLook = clock.now
    lastChange = clock.now
  }

  /// Looks at the time stamp; true if there is work to be done now.
  package func poke() -> Bool {
    guard !isLooking, reasonToReopen == nil else { return isLooking }
    guard let now = session.identity else {
      reasonToReopen = "the file is gone"
      return true
    }
    if let settled, settled.inode != now.inode || settled.device != now.device {
      reasonToReopen = "another file has taken its name"
      return true
    }
    if now == settled, state != .changing { return recount() }
    guard clock.now >= nextLook else { return false }
    do throws(StorageError) { try file.begin() } catch {
      reasonToReopen = error.description
      return true
    }
    began = now
    isLooking = true
    spent = .zero
    return true
  }

  /// The tables of the image, wherever they are now, stay as they are read.
  func keepTables() { file.keepTables() }

  /// Opening the file again failed; it is looked at again when it has changed.
  func couldNotReopen() {
    reasonToReopen = nil
    state = .unreadable
    settled = session.identity
  }

  /// What is shown is what the file holds, as far as its time stamp tells.
  package var isUpToDate: Bool { !isLooking && settled != nil && settled == session.identity }

  /// The file is to be looked at soon, or the maps are to be counted: ``poke()`` is worth a call.
  package var isRestless: Bool { isLooking || state == .changing || settled == nil || owesCount }

  /// Once the file has come to rest the maps are counted anew: where the host keeps bytes is told by no table.
  private func recount() -> Bool {
    guard owesCount, session.atlas.isDone, clock.now - lastChange >= rest else { return false }
    owesCount = false
    counted = settled
    session.atlas.restart()
    session.revision += 1
    return true
  }

  // MARK: Work

  package var progress: Double { isLooking ? file.progress : 1 }

  package func step(budgetNanoseconds: UInt64) -> Bool {
    guard isLooking else { return true }
    let start = clock.now
    let end = start + .nanoseconds(Int64(clamping: budgetNanoseconds))
    do throws(StorageError) {
      repeat {
        guard let found = try file.step() else { continue }
        isLooking = false
        take(found)
      } while isLooking && clock.now < end
    } catch {
      isLooking = false
      reasonToReopen = error.description
    }
    spent += clock.now - start
    if !isLooking {
      let wait = state == .changing ? Self.patience : Self.pause
      nextLook = clock.now + max(wait, spent * (Self.share - 1))
    }
    return !isLooking
  }

  private func take(_ found: Observation) {
    let isRepeated = began == before
    let isQuiet = isRepeated && session.identity == began
    before = began
    guard !found.needsReopening(over: session.overlay) else {
      reasonToReopen = "much of it has changed"
      return
    }
    if began != counted {
      owesCount = true
      if !isRepeated { lastChange = clock.now }
    }
    if found.isEmpty(over: session.overlay) {
      state = isRepeated || began == counted ? .settled : .tablesUnchanged
    } else {
      takeOver(found, isQuiet)
    }
    if history > Self.mostHistory { reasonToReopen = "the history became long and begins anew" }
    settled = isQuiet && state != .changing ? began : nil
  }

  private func takeOver(_ found: Observation, _ isQuiet: Bool) {
    do throws(ImageError) {
      // What a file at rest holds is shown, damaged or not.
      guard try session.adopt(found, title: title, evenIfDoubtful: isQuiet) else {
        state = .changing
        return
      }
      history += found.bytesKept
      state = found.touchesTables ? .settled : .tablesUnchanged
    } catch {
      state = .changing
      if isQuiet { reasonToReopen = error.description }
    }
  }

  /// When the bytes reached the file.
  private var title: String {
    guard let began else { return "written" }
    return "written at " + InfoText.date(UInt32(clamping: began.modifiedSeconds)).suffix(8)
  }
}
