use super::*;
use proptest::prelude::*;

fn with(registers: &[(u8, u8)]) -> Uart {
    let mut uart = Uart::default();
    for (offset, value) in registers {
        uart.write(*offset, *value);
    }
    uart
}

#[test]
fn an_empty_transmitter_is_said_once_for_each_byte() {
    let mut uart = Uart::default();
    uart.write(uart::DATA, b'a');
    assert_eq!(uart.read(uart::INTERRUPT_ID), 1, "nobody wants to know");
    uart.write(uart::INTERRUPT_ENABLE, uart::TRANSMITTER_INTERRUPT);
    assert_eq!(
        uart.read(uart::INTERRUPT_ID),
        2,
        "it is empty when that is enabled"
    );
    assert_eq!(uart.read(uart::INTERRUPT_ID), 1, "and was said");
    uart.write(uart::INTERRUPT_ENABLE, uart::TRANSMITTER_INTERRUPT);
    assert_eq!(uart.read(uart::INTERRUPT_ID), 1, "it was enabled already");
    assert_eq!(uart.write(uart::DATA, b'b'), Some(b'b'));
    assert_eq!(uart.read(uart::INTERRUPT_ID), 2);
    assert_eq!(uart.read(uart::INTERRUPT_ID), 1);
    uart.write(uart::INTERRUPT_ENABLE, 0);
    uart.write(uart::INTERRUPT_ENABLE, uart::TRANSMITTER_INTERRUPT);
    assert_eq!(uart.read(uart::INTERRUPT_ID), 2, "disabled and enabled");
}

#[test]
fn what_is_more_important_comes_first_and_the_rest_waits() {
    let mut uart = with(&[
        (uart::MODEM_CONTROL, uart::LOOPBACK),
        (uart::INTERRUPT_ENABLE, 0xf),
        (uart::DATA, 1),
        (uart::DATA, 2),
    ]);
    assert_eq!(uart.read(uart::INTERRUPT_ID), 6, "a byte was lost");
    assert_eq!(uart.read(uart::LINE_STATUS), 0x63);
    assert_eq!(uart.read(uart::LINE_STATUS), 0x61, "that was said");
    assert_eq!(uart.read(uart::INTERRUPT_ID), 4);
    assert_eq!(uart.read(uart::DATA), 2, "the newer one, without FIFOs");
    assert_eq!(uart.read(uart::INTERRUPT_ID), 2);
    assert_eq!(
        uart.read(uart::INTERRUPT_ID),
        0,
        "the lines changed with loopback"
    );
    assert_eq!(uart.read(uart::MODEM_STATUS), 0x0b);
    assert_eq!(uart.read(uart::INTERRUPT_ID), 1);
    assert_eq!(
        (uart.read(uart::MODEM_STATUS), uart.read(uart::LINE_STATUS)),
        (0, 0x60)
    );
}

#[test]
fn the_receiver_keeps_sixteen_bytes_in_order_and_speaks_at_its_trigger() {
    let mut uart = with(&[
        (uart::FIFO_CONTROL, 0x81),
        (uart::MODEM_CONTROL, uart::LOOPBACK),
        (uart::INTERRUPT_ENABLE, uart::RECEIVER_INTERRUPT),
    ]);
    for byte in 0..20 {
        assert_eq!(uart.write(uart::DATA, byte), None, "it stays inside");
        let source = if byte < 7 { 0xcc } else { 0xc4 };
        assert_eq!(uart.read(uart::INTERRUPT_ID), source, "{byte}");
    }
    assert_eq!(uart.read(uart::LINE_STATUS), 0x63);
    for byte in 0..16 {
        assert_eq!(uart.read(uart::DATA), byte);
    }
    assert_eq!(
        (uart.read(uart::INTERRUPT_ID), uart.read(uart::LINE_STATUS)),
        (0xc1, 0x60)
    );
    for clear in [0x83, 0x80, 0x81] {
        uart.write(uart::DATA, 1);
        uart.write(uart::FIFO_CONTROL, clear);
        assert_eq!(uart.read(uart::LINE_STATUS), 0x60, "{clear:#x}");
    }
}

#[test]
fn the_end_of_a_ring_counts_and_its_beginning_does_not() {
    let mut uart = with(&[(uart::MODEM_CONTROL, uart::LOOPBACK)]);
    uart.read(uart::MODEM_STATUS);
    uart.write(uart::MODEM_CONTROL, uart::LOOPBACK | 4);
    assert_eq!(uart.read(uart::MODEM_STATUS), uart::RING);
    uart.write(uart::MODEM_CONTROL, uart::LOOPBACK);
    assert_eq!(uart.read(uart::MODEM_STATUS), 4);
    for (control, lines) in [(0xa, 0x90), (0x5, 0x60), (0xf, 0xf0), (0, 0)] {
        uart.write(uart::MODEM_CONTROL, uart::LOOPBACK | control);
        assert_eq!(uart.read(uart::MODEM_STATUS) & 0xf0, lines, "{control:#x}");
    }
}

#[test]
fn the_line_goes_through_out2_and_not_out_of_loopback() {
    let mut uart = with(&[(uart::INTERRUPT_ENABLE, uart::TRANSMITTER_INTERRUPT)]);
    assert!(!uart.interrupts());
    uart.write(uart::MODEM_CONTROL, uart::OUT2);
    assert!(uart.interrupts());
    uart.write(uart::MODEM_CONTROL, uart::OUT2 | uart::LOOPBACK);
    assert!(!uart.interrupts());
    uart.write(uart::MODEM_CONTROL, uart::OUT2);
    assert_eq!(uart.read(uart::INTERRUPT_ID), 2);
    assert!(!uart.interrupts());
}

#[test]
fn the_divisor_is_behind_its_latch() {
    let mut uart = with(&[
        (uart::LINE_CONTROL, 0x83),
        (uart::DATA, 12),
        (uart::INTERRUPT_ENABLE, 0xff),
    ]);
    assert_eq!(
        (uart.read(uart::DATA), uart.read(uart::INTERRUPT_ENABLE)),
        (12, 0xff)
    );
    uart.write(uart::LINE_CONTROL, 3);
    assert_eq!((uart.read(uart::DATA), uart.read(uart::INTERRUPT_ENABLE)), (0, 0));
    assert_eq!((uart.read(uart::LINE_CONTROL), uart.read(8)), (3, 0xff));
}

proptest! {
    /// An interrupt-driven driver, however it switches its interrupts, and whatever others do to the modem lines: all
    /// of its bytes leave in order, and it is never called without end.
    #[test]
    fn a_driver_gets_its_bytes_out(
        text in prop::collection::vec(any::<u8>(), 1..200),
        fifo in any::<bool>(),
        disturbances in prop::collection::vec(0u8..4, 200),
    ) {
        let mut uart = with(&[(uart::FIFO_CONTROL, u8::from(fifo)), (uart::MODEM_CONTROL, uart::OUT2)]);
        let (mut left, mut rest) = (Vec::new(), text.iter());
        let burst = if fifo { 16 } else { 1 };
        uart.write(uart::INTERRUPT_ENABLE, uart::TRANSMITTER_INTERRUPT);
        for disturbance in disturbances {
            match disturbance {
                0 => {
                    uart.write(uart::INTERRUPT_ENABLE, 0);
                    uart.write(uart::INTERRUPT_ENABLE, uart::TRANSMITTER_INTERRUPT);
                }
                1 => { uart.read(uart::LINE_STATUS); }
                2 => { uart.read(uart::MODEM_STATUS); }
                _ => {}
            }
            if !uart.interrupts() {
                prop_assert_eq!(uart.read(uart::INTERRUPT_ID) & 0xf, uart::NO_INTERRUPT);
                continue;
            }
            prop_assert_eq!(uart.read(uart::INTERRUPT_ID) & 0xf, uart::TRANSMITTER_SOURCE);
            prop_assert!(!uart.interrupts(), "it was told");
            for byte in rest.by_ref().take(burst) {
                left.extend(uart.write(uart::DATA, *byte));
            }
        }
        prop_assert_eq!(left, text);
        // With nothing more to say, it falls silent.
        uart.read(uart::INTERRUPT_ID);
        prop_assert!(!uart.interrupts());
    }

    /// Nothing that a guest writes makes it panic, and its line is up exactly if a driver finds a reason.
    #[test]
    fn the_line_has_a_reason(accesses in prop::collection::vec((any::<bool>(), 0u8..10, any::<u8>()), 0..300)) {
        let mut uart = Uart::default();
        for (write, offset, value) in accesses {
            if write {
                uart.write(offset, value);
            } else {
                uart.read(offset);
            }
            let line = uart.interrupts();
            let reason = uart.clone().read(uart::INTERRUPT_ID);
            if line {
                prop_assert_eq!(reason & uart::NO_INTERRUPT, 0);
            }
            prop_assert!([0, 1, 2, 4, 6, 0xc].contains(&(reason & 0x3f)));
        }
    }
}
