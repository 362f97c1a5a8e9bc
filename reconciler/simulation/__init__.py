"""Simulated fleets: every node of a fleet file, served on loopback, with faults on request.

Belongs here: sockets, faults, the control endpoint, generated fleets, and the products that can be simulated.
Never here: what a node answers; that is the `simulator` of each product.

    async with Simulation(fleet, drivers, converged=True) as simulation:
        await simulation.fault("edge-01", "lost", count=1)
        simulation.world("edge").state("edge-02")
"""
